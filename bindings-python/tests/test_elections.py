"""Elections: terms, the values that leaders show, and those who look on."""

import asyncio
import pathlib
import re
import threading

import pytest

import leasehold


@pytest.fixture
def client():
    with leasehold.connect("memory:") as client:
        yield client


def test_a_leader_shows_a_value_and_proclaims_another(client):
    election = client.election("x", value="10.0.0.7:8080")
    assert election.leader() is None
    with election.campaign() as term:
        assert isinstance(term, leasehold.Term) and isinstance(term, leasehold.Lease)
        leader = election.leader()
        assert (leader.value, leader.term) == ("10.0.0.7:8080", term.number)
        assert leader.label.endswith(" 10.0.0.7:8080") and 0 < leader.free_in <= term.ttl
        term.proclaim("b")
        assert election.leader().value == "b" and term.number == term.fence
        assert repr(term).startswith("<Term 'x', fence ")
        with pytest.raises(leasehold.InvalidInput, match="value of an election"):
            term.proclaim("a\nb")
    assert election.leader() is None
    with pytest.raises(leasehold.NotHeld):
        term.proclaim("late")
    assert repr(election) == "<Election 'x'>" and "x" in repr(election.campaign())


def test_what_an_election_cannot_be_is_refused(client):
    for wrong in ({"value": "v" * 257}, {"ttl": 0}, {"max_hold": 0}):
        with pytest.raises(leasehold.InvalidInput):
            client.election("x", **wrong)
    with pytest.raises(leasehold.InvalidInput, match="election's name"):
        client.election("\ud800")
    with client.lock("x", shared=True), pytest.raises(leasehold.Refused, match="name of its own"):
        client.election("x").leader()


def test_a_body_that_is_checked_leads_again_after_a_loss(client):
    election, terms = client.election("x"), []

    def body(term):
        terms.append(term.number)
        while len(terms) < 3:
            assert client.break_lock("x")
            term.lost.wait(10)
            term.check()
        return "done"

    assert election.lead(body) == "done"
    assert terms == sorted(terms) and len(set(terms)) == 3
    assert election.leader() is None


def test_what_a_body_raises_ends_the_lead(client):
    election = client.election("x")
    with pytest.raises(ZeroDivisionError):
        election.lead(lambda term: 1 / 0)
    assert election.leader() is None

    def uses_another_lock(term):
        with client.lock("y"):
            client.break_lock("y")

    with pytest.raises(leasehold.LeaseLost) as lost:
        election.lead(uses_another_lock)
    assert lost.value.lock == "y" and election.leader() is None


def test_a_coroutine_has_ended_before_the_next_campaign_begins(client):
    async def main():
        election, terms, at_work = client.election("x"), [], 0

        async def body(term):
            nonlocal at_work
            assert at_work == 0
            at_work += 1
            try:
                terms.append(term.number)
                if len(terms) < 3:
                    await client.break_lock_async("x")
                    await asyncio.sleep(60)
                return "done"
            finally:
                at_work -= 1

        assert await election.lead_async(body) == "done"
        assert len(set(terms)) == 3 and at_work == 0
        assert await election.leader_async() is None
        async with election.campaign() as term:
            await term.proclaim_async("b")
            assert (await election.leader_async()).value == "b"
            await term.resign_async()

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_cancelled_campaign_and_a_cancelled_lead_leave_nothing(client):
    async def main():
        election = client.election("x")
        async with election.campaign():
            waits = asyncio.ensure_future(election.lead_async(asyncio.sleep))
            while not (await client.status_async("x")).waiters:
                await asyncio.sleep(0.01)
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits
        assert await client.status_async("x") is None

        async def body(term):
            await asyncio.sleep(60)

        leads = asyncio.ensure_future(election.lead_async(body))
        while await election.leader_async() is None:
            await asyncio.sleep(0.01)
        leads.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leads
        assert await client.status_async("x") is None

    asyncio.run(asyncio.wait_for(main(), 30))


def test_observers_are_told_of_each_leader_and_of_nobody(client):
    election = client.election("x", value="a")
    leaders = iter(election.observe())
    assert next(leaders) is None
    with election.campaign() as term:
        assert next(leaders).value == "a"
        term.proclaim("b")
        assert next(leaders).value == "b"
    assert next(leaders) is None

    async def main():
        seen = []
        async for leader in election.observe():
            seen.append(leader and leader.value)
            if len(seen) == 1:
                term = await election.campaign().acquire_async()
            elif len(seen) == 2:
                await term.resign_async()
            else:
                return seen

    assert asyncio.run(asyncio.wait_for(main(), 30)) == [None, "a", None]


def test_an_observer_in_a_thread_ends_with_its_client():
    client = leasehold.connect("memory:")
    leaders = client.election("x").observe()
    assert next(leaders) is None
    raised = []

    def watch():
        try:
            next(leaders)
        except leasehold.ClientClosed as error:
            raised.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    client.close()
    thread.join(20)
    assert len(raised) == 1


def test_the_readme(client):
    readme = pathlib.Path(__file__).parents[1] / "README.md"
    found = re.search(r"\*\*Elections.*?\n\n```python\n(.*?)```", readme.read_text(), re.DOTALL)
    scheduled, told = [], []
    exec(found[1], {"client": client, "schedule": scheduled.append, "connect_to": told.append})
    assert len(scheduled) == 1 and told == ["10.0.0.7:8080"]
    assert client.status("scheduler") is None and len(found[1].splitlines()) <= 8
