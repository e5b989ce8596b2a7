"""Lock-delays, renewals by another ttl, and several locks at once."""

import asyncio
import pathlib
import re
import time

import pytest

import leasehold


@pytest.fixture
def client():
    with leasehold.connect("memory:") as client:
        yield client


def test_a_block_that_holds_several(client):
    with client.locks(["b", "a"], ttl=10) as leases:
        assert leases.names == ["a", "b"] and list(leases.fences) == ["a", "b"]
        assert leases.fences["a"] > 0 and leases.keys == {} and leases.is_valid
        assert client.lock("a").try_acquire() is None
        assert client.locks(["a", "c"]).try_acquire() is None
    assert client.list() == []
    assert repr(client.locks(["b", "a"])) == "<Locks ['a', 'b']>"


def test_several_in_asyncio(client):
    async def main():
        async with client.locks(["a", "b"]) as leases:
            assert leases.fences["b"] > 0
        with pytest.raises(leasehold.LeaseLost, match="\"b\""):
            async with client.locks(["a", "b"]) as leases:
                await client.break_lock_async("b")
                await asyncio.sleep(20)
        assert leases.lost.reason == "gone" and leases.lost.name == "b"
        while await client.list_async():
            await asyncio.sleep(0)

    asyncio.run(main())


def test_the_loss_of_one_is_the_loss_of_all(client):
    with pytest.raises(leasehold.LeaseLost, match="\"b\"") as raised, client.locks(["a", "b"]) as leases:
        client.break_lock("b")
        assert leases.lost.wait(20) and leases.lost.name == "b" and not leases.is_valid
        with pytest.raises(leasehold.LeaseLost):
            leases.check()
    assert raised.value.lock == "b"


def test_one_wait_for_all(client):
    with client.lock("b"):
        began = time.monotonic()
        with pytest.raises(leasehold.LockTimeout, match="\"b\""):
            client.locks(["a", "b"], wait=0.2).acquire()
        assert time.monotonic() - began < 10
    assert client.list() == []


@pytest.mark.parametrize("names", [[], ["a", "a"], ["a", ""], "ab"])
def test_names_that_make_no_group(client, names):
    with pytest.raises(leasehold.InvalidInput):
        client.locks(names)


def test_a_renewal_by_another_ttl(client):
    with client.lock("a", auto_renew=False) as lease:
        lease.renew(ttl=100)
        assert lease.ttl == 100 and lease.remaining > 90
        asyncio.run(lease.renew_async(ttl=5))
        assert lease.ttl == 5 and lease.remaining <= 5
        lease.renew()
        with pytest.raises(leasehold.InvalidInput) as raised:
            lease.renew(ttl=0)
        assert raised.value.outcome == "held"
    with client.lock("a") as lease, pytest.raises(leasehold.InvalidInput, match="auto_renew"):
        lease.renew(ttl=100)


def test_a_delay_is_for_others_alone(client):
    lease = client.lock("a", ttl=2, delay=10, auto_renew=False).acquire()
    assert lease.ttl == 2 and lease.remaining <= 2
    assert client.status("a").holder.free_in > 10
    assert lease.lost.wait(20)
    del lease
    assert client.lock("a").try_acquire() is None
    with pytest.raises(leasehold.InvalidInput, match="delay"):
        client.lock("a", delay=24 * 3600)
    with leasehold.connect("memory:?delay=5s", delay=3) as other, other.lock("a"):
        assert other.status("a").holder.free_in > 14


def test_the_readme(client):
    readme = pathlib.Path(__file__).parents[1] / "README.md"
    found = re.search(r"\*\*Several locks.*?\n\n```python\n(.*?)```", readme.read_text(), re.DOTALL)
    moved = []
    exec(found[1], {"client": client, "move": lambda *fences: moved.append(fences)})
    assert len(moved[0]) == 2 and client.list() == []
