"""trio, and anyio on trio and asyncio."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import anyio
import leasehold
import pytest
import sniffio
import trio
import trio.testing
from leasehold import _host
from rig import LONG, assert_free, until


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        with trio.fail_after(20):
            await main()

    trio.run(whole)


def run_on(backend: str, main: Callable[[], Awaitable[None]]) -> None:
    """By anyio."""
    uv = backend == "uvloop"
    options = {"use_uvloop": uv} if backend != "trio" else {}
    anyio.run(main, backend="asyncio" if uv else backend, backend_options=options)


def test_tasks_take_a_lock_in_turn_and_others_run_meanwhile(
    client: leasehold.Client, name: str
) -> None:
    lock, inside, fences = client.lock(name, ttl=LONG), [], []

    async def work() -> None:
        async with lock as lease:
            inside.append(1)
            await trio.sleep(0.005)
            assert inside == [1]
            inside.clear()
            fences.append(lease.fence)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(work)
        lease = await lock.try_acquire_async()
        assert lease and await client.status_async(name)
        await lease.renew_async()
        await lease.release_async()

    for _ in range(3):
        run(main)
    assert len(fences) == 30 and fences == sorted(set(fences))
    assert_free(client, name)


def test_a_cancelled_wait_leaves_nothing(
    one: leasehold.Client, other: leasehold.Client, name: str
) -> None:
    async def main() -> None:
        held = await other.lock(name, ttl=LONG).acquire_async()
        with trio.move_on_after(0.1) as scope:
            async with one.lock(name, ttl=LONG):
                raise AssertionError
        assert scope.cancelled_caught
        while (await other.status_async(name)).waiters:  # type: ignore[union-attr]
            await trio.sleep(0.01)
        await held.release_async()

    run(main)
    assert_free(other, name)


def test_a_cancel_around_the_moment_of_a_grant_leaves_nothing(
    client: leasehold.Client, name: str
) -> None:
    lock, dice, counts = client.lock(name, ttl=LONG), random.Random(3), [0, 0]

    async def take(limit: float) -> None:
        with trio.move_on_after(limit):
            await (await lock.acquire_async()).release_async()
            counts[0] += 1
            return
        counts[1] += 1

    async def main() -> None:
        for _ in range(60):
            async with trio.open_nursery() as nursery:
                async with lock:
                    for _ in range(3):
                        nursery.start_soon(take, dice.random() * 0.006)
                    await trio.sleep(dice.random() * 0.004)
            await (await lock.acquire_async(timeout=5)).release_async()

    run(main)
    assert min(counts) > 0
    assert_free(client, name)


def test_a_scope_that_is_cancelled_before_takes_nothing(
    client: leasehold.Client, name: str
) -> None:
    async def main() -> None:
        for _ in range(20):
            with trio.CancelScope() as scope:
                scope.cancel()
                async with client.lock(name, ttl=LONG):
                    raise AssertionError
            assert scope.cancelled_caught

    run(main)
    assert_free(client, name)


def later(wake: Callable[[], None]) -> None:
    """In the next turn of the loop, as what the reactor wakes."""
    if sniffio.current_async_library() == "trio":
        trio.lowlevel.current_trio_token().run_sync_soon(wake)
    else:
        asyncio.get_running_loop().call_soon(wake)


class Answered:
    """A call that has its answer at the first look, or at the second."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def begin(self, _: object) -> Answered:
        return self

    def poll(self) -> bool:
        self.looks += 1
        return self.looks > 1

    def park(self, wake: Callable[[], None]) -> None:
        later(wake)

    def answer(self) -> None:
        return None

    def close(self) -> None:
        return None


@pytest.mark.parametrize("looks", [0, 1], ids=["at the second look", "at once"])
@pytest.mark.parametrize("backend", ["trio", "asyncio", "uvloop"])
def test_a_cancel_is_heard_whenever_the_answer_comes(backend: str, looks: int) -> None:
    async def main() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await _host.scheduler().wait(Answered(looks))  # type: ignore[arg-type]
        assert scope.cancelled_caught

    run_on(backend, main)


@pytest.mark.parametrize("backend", ["trio", "asyncio", "uvloop"])
def test_a_cancel_is_heard_when_the_answer_comes_in_the_same_turn_of_the_loop(
    backend: str, client: leasehold.Client, name: str
) -> None:
    async def block() -> None:
        time.sleep(0.005)

    async def main() -> None:
        await (await client.lock(name, ttl=LONG).acquire_async()).release_async()
        async with anyio.create_task_group() as group:
            for _ in range(50):
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    group.start_soon(block)
                    async with client.lock(name, ttl=LONG):
                        raise AssertionError
                assert scope.cancelled_caught

    run_on(backend, main)
    assert_free(client, name)


def test_a_lost_lease_cancels_the_body_and_the_block_raises(
    one: leasehold.Client, other: leasehold.Client, name: str
) -> None:
    seen = []

    async def main() -> None:
        with pytest.raises(leasehold.LeaseLost, match=name):
            async with one.lock(name, ttl=LONG) as lease:
                try:
                    assert await other.break_lock_async(name)
                    await trio.sleep(30)
                except trio.Cancelled:
                    seen.append(lease.lost.reason)
                    raise
        await trio.sleep(0)  # and nothing comes after
        with pytest.raises(ZeroDivisionError) as caught:
            async with one.lock(name, ttl=LONG):
                try:
                    assert await other.break_lock_async(name)
                    await trio.sleep(30)
                finally:
                    1 / 0
        assert name in caught.value.__notes__[0]

    run(main)
    assert seen == ["gone"]
    assert_free(other, name)


def test_a_cancel_from_elsewhere_goes_on_and_gives_the_lock_back(
    one: leasehold.Client, other: leasehold.Client, name: str
) -> None:
    async def main() -> None:
        for wait in (0.001, 0.02):
            with trio.move_on_after(wait) as scope:
                async with one.lock(name, ttl=LONG):
                    await trio.sleep(30)
            assert scope.cancelled_caught
            await (await other.lock(name, ttl=LONG).acquire_async(timeout=5)).release_async()

    run(main)


def test_the_end_of_a_lease_and_events_can_be_awaited(
    one: leasehold.Client, other: leasehold.Client, name: str
) -> None:
    reasons, told = [], []

    async def watch(lease: leasehold.Lease) -> None:
        reasons.append(await lease.lost)

    async def listen() -> None:
        async for event in one.events():
            told.append(event.what)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await trio.testing.wait_all_tasks_blocked()
            lease = await one.lock(name, ttl=LONG).acquire_async()
            nursery.start_soon(watch, lease)
            await trio.testing.wait_all_tasks_blocked()
            assert await other.break_lock_async(name)
            while not reasons:
                await trio.sleep(0.01)
            await one.close_async()

    run(main)
    assert reasons == ["gone"] and told == ["acquired", "lost"]


def test_a_wait_that_blocks_is_refused_with_the_cure(client: leasehold.Client, name: str) -> None:
    async def main() -> None:
        with pytest.raises(leasehold.InvalidInput, match="trio.*async with.*acquire_async"):
            client.lock(name).acquire()
        with pytest.raises(leasehold.InvalidInput, match="trio"):
            with client.lock(name):
                pass
        lease = await trio.to_thread.run_sync(client.lock(name, ttl=LONG).acquire)
        lease.release()

    run(main)
    assert_free(client, name)


def test_a_coroutine_that_nobody_known_runs_is_refused_with_the_cure(
    client: leasehold.Client, name: str
) -> None:
    coroutine = client.lock(name).acquire_async()
    with pytest.raises(leasehold.InvalidInput, match="asyncio, trio, gevent and eventlet"):
        coroutine.send(None)
    assert_free(client, name)


def test_a_scheduler_that_names_itself_is_refused_by_its_name(
    client: leasehold.Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sniffio.thread_local, "name", "curio")
    with pytest.raises(leasehold.InvalidInput, match="curio"):
        client.lock(name).acquire()
    with pytest.raises(leasehold.InvalidInput, match="wait in curio"):
        client.lock(name).acquire_async().send(None)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyio_runs_it(backend: str, client: leasehold.Client, name: str) -> None:
    lock, inside = client.lock(name, ttl=LONG), []

    async def work() -> None:
        async with lock:
            inside.append(1)
            await anyio.sleep(0.002)
            assert inside.pop() == 1 and not inside

    async def main() -> None:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(work)
            held = await lock.acquire_async()
            with anyio.move_on_after(0.05) as scope:
                await lock.acquire_async()
            assert scope.cancelled_caught
            await held.release_async()

    anyio.run(main, backend=backend)
    assert_free(client, name)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_lease_that_is_lost_under_anyio_raises(
    backend: str, one: leasehold.Client, other: leasehold.Client, name: str
) -> None:
    async def main() -> None:
        with anyio.fail_after(20), pytest.raises(leasehold.LeaseLost):
            async with one.lock(name, ttl=LONG):
                assert await other.break_lock_async(name)
                await anyio.sleep(30)
        with anyio.fail_after(20):
            await anyio.sleep(0.01)

    anyio.run(main, backend=backend)


def test_a_task_of_trio_is_found_beside_a_loop_that_hosts_it(
    client: leasehold.Client, name: str
) -> None:
    # Guest mode: both run in this thread.
    import asyncio

    async def work() -> str:
        async with client.lock(name, ttl=LONG):
            await trio.sleep(0.01)
        return "done"

    async def main() -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        outcomes = []

        def done(outcome: object) -> None:
            outcomes.append(outcome)
            over.set()

        trio.lowlevel.start_guest_run(
            work, run_sync_soon_threadsafe=loop.call_soon_threadsafe, done_callback=done
        )
        async with client.lock(f"{name}/asyncio", ttl=LONG):
            await asyncio.wait_for(over.wait(), 20)
        assert outcomes[0].unwrap() == "done"  # type: ignore[attr-defined]

    asyncio.run(main())
    until(lambda: client.lock(name).try_acquire())
