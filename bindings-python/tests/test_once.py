"""Work that is done once per interval, and locks that rest."""

import asyncio
import pathlib
import re
from datetime import timedelta

import pytest

import leasehold
from leasehold import Ran, Skipped

HOUR = timedelta(hours=1)
REST = 0.95 * 3600


@pytest.fixture
def client():
    with leasehold.connect("memory:") as client:
        yield client


def fail():
    raise ValueError("no paper")


async def fail_async():
    fail()


def is_rested(result):
    return isinstance(result, Skipped) and result.why == "rested" and REST - 60 < result.next_in <= REST


def test_a_function_is_run_once_and_then_skipped(client):
    once = client.once("nightly", every=HOUR)
    assert once.run(lambda *args, **kwargs: (args, kwargs), 1, b=2) == Ran(((1,), {"b": 2}))
    assert is_rested(once.run(fail))
    holder = client.status("nightly").holder
    assert holder.resting and holder.free_in <= REST
    assert client.break_lock("nightly")
    assert once.run(int) == Ran(0)


def test_what_raises_is_free_at_once(client):
    once = client.once("nightly", every=HOUR)
    with pytest.raises(ValueError, match="no paper"):
        once.run(fail)
    assert client.status("nightly") is None
    assert once.run(int) == Ran(0)


def test_what_runs_is_skipped(client):
    once = client.once("nightly", every=HOUR)
    inner = once.run(lambda: once.run(int))
    assert isinstance(inner, Ran) and inner.value.why == "running"


def test_the_loss_of_the_lease_is_a_failure(client):
    once = client.once("nightly", every=HOUR)
    with pytest.raises(leasehold.LeaseLost):
        once.run(lambda: client.break_lock("nightly"))
    assert client.status("nightly") is None


def test_a_decorated_function_says_whether_it_ran(client):
    @client.once("nightly", every=3600)
    def report(day):
        """It."""
        return day

    assert report("monday") == Ran("monday") and report.__doc__ == "It."
    assert is_rested(report("tuesday"))
    with pytest.raises(leasehold.InvalidInput, match="generator"):

        @client.once("x", every=1)
        def items():
            yield 1


def test_coroutines(client):
    async def main():
        once = client.once("nightly", every=HOUR)
        with pytest.raises(ValueError, match="no paper"):
            await once.run_async(fail_async)
        assert await client.status_async("nightly") is None

        @once
        async def report():
            await asyncio.sleep(0)
            return (await client.status_async("nightly")).holder.resting

        assert await report() == Ran(False)
        assert is_rested(await report())
        with pytest.raises(leasehold.InvalidInput, match="run_async"):
            once.run(int)

    asyncio.run(main())


def test_a_coroutine_that_is_cancelled_or_loses_its_lease_has_failed(client):
    async def main():
        once = client.once("nightly", every=HOUR)
        task = asyncio.create_task(once.run_async(asyncio.sleep, 60))
        while await client.status_async("nightly") is None:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await client.status_async("nightly") is None
        task = asyncio.create_task(once.run_async(asyncio.sleep, 60))
        while not await client.break_lock_async("nightly"):
            await asyncio.sleep(0.01)
        with pytest.raises(leasehold.LeaseLost):
            await task
        assert await client.status_async("nightly") is None

    asyncio.run(main())


def test_each_slot_is_run_once(client):
    def run(day):
        return client.once("nightly", slot=day).run(int)

    assert run("2026-11-27") == Ran(0) and run("2026-11-28") == Ran(0)
    assert run("2026-11-27").next_in > 6 * 24 * 3600
    assert client.status("nightly@2026-11-27").holder.resting


@pytest.mark.parametrize(
    "options", [{}, {"every": 0.5}, {"every": -1}, {"slot": "a@b"}, {"slot": ""}, {"every": timedelta(days=401)}]
)
def test_an_interval_or_slot_that_cannot_be(client, options):
    with pytest.raises(leasehold.InvalidInput):
        client.once("nightly", **options)


def test_a_lock_rests_until_its_min_hold_is_over(client):
    with client.lock("x", min_hold=0.3) as lease:
        assert not client.status("x").holder.resting
    assert client.status("x").holder.resting and client.lock("x").try_acquire() is None
    with client.lock("x", wait=10) as next:
        assert next.fence > lease.fence
    with client.locks(["a", "b"], min_hold=HOUR):
        pass
    assert all(client.status(name).holder.resting for name in ("a", "b"))
    for wrong in ({"min_hold": 2, "max_hold": 1}, {"min_hold": 1, "shared": True}, {"min_hold": 401 * 86400}):
        with pytest.raises(leasehold.InvalidInput, match="min_hold"):
            client.lock("x", **wrong)


def test_the_readme(client, capsys):
    readme = pathlib.Path(__file__).parents[1] / "README.md"
    found = re.search(r"\*\*Once per.*?\n\n```python\n(.*?)```", readme.read_text(), re.DOTALL)
    exec(found[1], {"client": client, "timedelta": timedelta})
    assert "Ran(value=42)\nSkipped(why='rested', next_in=8" in capsys.readouterr().out
    assert len(found[1].splitlines()) <= 8


def test_a_function_that_only_returns_what_would_do_the_work_has_not_done_it(client):
    done = []

    async def work():
        done.append(1)
        return "done"

    def lines():
        yield 1

    once = client.once("x", every=HOUR)
    for function in (work, lambda: work(), lines):
        with pytest.raises(leasehold.InvalidInput, match="has not run yet"):
            once.run(function)
    assert not done and client.status("x") is None
    with pytest.raises(leasehold.InvalidInput, match="lead_async"):
        client.election("x").lead(lambda term: work())
    assert client.status("x") is None

    async def main():
        with pytest.raises(leasehold.InvalidInput, match="has not run yet"):
            await once.run_async(lines)
        assert client.status("x") is None
        assert await once.run_async(lambda: work()) == Ran("done")
        assert await client.once("y", every=HOUR).run_async(lambda: 7) == Ran(7)

    asyncio.run(main())
    assert done == [1]
