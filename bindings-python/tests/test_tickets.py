"""Leases that are handed to another process."""

import asyncio
import pathlib
import re

import leasehold
import pytest
from rig import LONG, assert_free, start

GIVES = """
    import leasehold, sys
    lease = leasehold.connect(sys.argv[1]).lock("x").acquire()
    print(lease.fence, lease.into_ticket(valid=60), flush=True)
    sys.stdin.read()
"""
ADOPTS = """
    import leasehold, sys
    with leasehold.connect(sys.argv[1]).adopt(sys.argv[2], name="x") as lease:
        print(lease.fence, lease.is_valid, flush=True)
        sys.stdin.read()
"""


@pytest.mark.parametrize("is_killed", [False, True])
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_child_adopts_what_another_process_gave(kind, is_killed, tmp_path, redis):
    url = redis if kind == "redis" else f"sqlite:{tmp_path}/locks.db"
    with leasehold.connect(url) as client, start(GIVES, url) as giver:
        fence, ticket = giver.stdout.readline().split()
        if is_killed:
            giver.kill()
            giver.wait()
        assert client.lock("x").try_acquire() is None
        with start(ADOPTS, url, ticket) as adopter:
            assert adopter.stdout.readline() == f"{fence} True\n"
            assert client.lock("x").try_acquire() is None
            with pytest.raises(leasehold.LeaseLost, match="adopted before"):
                client.adopt(ticket)
            assert adopter.communicate() == ("", "") and adopter.returncode == 0
        assert_free(client, "x")
        giver.communicate()


def test_whoever_has_handed_a_lease_on_holds_nothing(client, name):
    with client.lock(name, ttl=LONG) as lease:
        ticket = lease.into_ticket()
        assert isinstance(ticket, str) and not lease.is_valid
        with pytest.raises(leasehold.NotHeld, match="handed on"):
            lease.check()
        with pytest.raises(leasehold.NotHeld):
            lease.into_ticket()
    assert client.lock(name).try_acquire() is None
    adopted = client.adopt(ticket)
    assert (adopted.name, adopted.fence, adopted.ttl) == (name, lease.fence, LONG)
    adopted.release()
    assert_free(client, name)


def test_both_in_asyncio(client, name):
    async def main():
        async with client.lock(name) as lease:
            ticket = await lease.into_ticket_async(valid=60)
        async with await client.adopt_async(ticket, name=name) as adopted:
            assert adopted.fence == lease.fence and adopted.is_valid
            with pytest.raises(leasehold.LeaseLost):
                await client.adopt_async(ticket)

    asyncio.run(main())
    assert_free(client, name)


def test_what_is_told_of_it():
    with leasehold.connect("memory:") as client:
        events = client.events()
        client.adopt(client.lock("x").acquire().into_ticket()).release()
    assert [event.what for event in events] == ["acquired", "handed_on", "adopted", "released"]


def test_a_ticket_that_is_not_good(client, name):
    ticket = client.lock(name, ttl=LONG).acquire().into_ticket()
    with pytest.raises(leasehold.Refused, match="mixed up") as refused:
        client.adopt(ticket, name="another")
    assert refused.value.outcome == "not_held"
    for text in (ticket[:-3], ticket + "A", "", "\0", "lh1."):
        with pytest.raises(leasehold.InvalidInput, match="no ticket"):
            client.adopt(text)
    with pytest.raises(leasehold.InvalidInput):
        client.adopt("\ud800")
    with pytest.raises(leasehold.Refused, match="upgrade"):
        client.adopt("lh9.whatever")
    with leasehold.connect("sqlite:" if client.backend == "memory:" else "memory:") as other:
        with pytest.raises(leasehold.Refused, match="memory"):
            other.adopt(ticket)
    for wrong in (0, -1, 86401, "long", float("inf")):
        lease = client.lock(name + "/other").acquire()
        with pytest.raises(leasehold.InvalidInput):
            lease.into_ticket(valid=wrong)
        assert lease.is_valid
        lease.release()
    client.adopt(ticket, name=name).release()


def test_several_locks_cannot_be_handed_on(client, name):
    with client.locks([name, name + "/b"]) as leases:
        with pytest.raises(leasehold.Unsupported, match="together"):
            leases.into_ticket()
        assert leases.is_valid


def test_the_readme(client):
    readme = pathlib.Path(__file__).parents[1] / "README.md"
    found = re.search(r"\*\*Take it in the web.*?\n\n```python\n(.*?)```", readme.read_text(), re.DOTALL)
    queue, sent = [], []
    calls = {"queue": queue, "send": lambda number, fence: sent.append((number, fence))}
    exec(found[1], {"client": client, **calls})
    assert sent and sent[0][0] == 42 and not queue
    assert len(found[1].splitlines()) <= 8
    assert_free(client, "invoices/42")
