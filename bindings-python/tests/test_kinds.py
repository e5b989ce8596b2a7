"""Locks that several hold at once: shared ones, and those with permits."""

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


def test_readers_share_a_lock_and_keep_a_writer_out(client):
    with client.lock("x", shared=True) as one, client.lock("x", shared=True) as other:
        assert one.fence == other.fence and one.slot is None
        assert client.lock("x").try_acquire() is None
        assert [holder.mode for holder in client.status("x").holders] == ["shared", "shared"]
    with client.lock("x") as writer:
        assert writer.fence > one.fence and writer.slot is None
        assert client.lock("x", shared=True).try_acquire() is None
        assert client.status("x").holder.mode == "exclusive"


def test_a_reader_comes_after_a_writer_that_waits(client):
    reader = client.lock("x", shared=True).acquire()
    order = []

    def write():
        with client.lock("x"):
            order.append("writer")

    writer = threading.Thread(target=write)
    writer.start()
    while not client.status("x").waiters:
        pass
    assert client.lock("x", shared=True).try_acquire() is None
    reader.release()
    with client.lock("x", shared=True):
        order.append("reader")
    writer.join()
    assert order == ["writer", "reader"]


def test_each_permit_has_a_slot_and_there_is_no_more(client):
    gpu = client.lock("gpu", permits=2)
    one, other = gpu.acquire(), gpu.acquire()
    assert {one.slot, other.slot} == {0, 1} and gpu.try_acquire() is None
    holders = client.status("gpu").holders
    assert [(holder.mode, holder.slot) for holder in holders] == [("counted", 0), ("counted", 1)]
    assert [holder.fence for holder in holders] == sorted([one.fence, other.fence])
    one.release()
    with gpu as next_one:
        assert next_one.slot == one.slot and next_one.fence > one.fence
    other.release()
    assert client.status("gpu") is None


def test_both_in_asyncio(client):
    async def main():
        async with client.lock("x", shared=True), client.lock("x", shared=True):
            assert await client.lock("x").try_acquire_async() is None
            assert len((await client.status_async("x")).holders) == 2
        async with client.lock("gpu", permits=2) as lease:
            assert lease.slot == 0
            assert (await client.list_async())[0].holder.slot == 0

    asyncio.run(main())


def test_another_number_of_permits_is_refused(client):
    with client.lock("x", permits=2):
        for options in ({"permits": 3}, {"shared": True}, {}):
            with pytest.raises(leasehold.Refused, match="2 permits") as refused:
                client.lock("x", **options).try_acquire()
            assert refused.value.lock == "x"
    client.lock("x", permits=3).acquire().release()


@pytest.mark.parametrize("permits", [0, -1, 1001, 2**40, True, 1.0, 1.5, "4"])
def test_permits_that_there_cannot_be(client, permits):
    with pytest.raises(leasehold.InvalidInput, match="permits"):
        client.lock("x", permits=permits)


def test_not_both(client):
    with pytest.raises(leasehold.InvalidInput, match="not both"):
        client.lock("x", shared=True, permits=2)


def test_several_locks_can_be_shared_and_counted(client):
    with client.locks(["a", "b"], shared=True) as leases, client.lock("a", shared=True):
        assert leases.slots == {} and client.lock("b").try_acquire() is None
    with client.locks(["a", "b"], permits=2) as one, client.locks(["b", "a"], permits=2) as other:
        assert (one.slots, other.slots) == ({"a": 0, "b": 0}, {"a": 1, "b": 1})


def test_the_readme(client, capsys):
    readme = pathlib.Path(__file__).parents[1] / "README.md"
    found = re.search(r"\*\*Shared, or.*?\n\n```python\n(.*?)```", readme.read_text(), re.DOTALL)
    read, rendered = [], []
    calls = {"read_config": lambda fence: read.append(fence), "render": lambda gpu, fence: rendered.append(gpu)}
    exec(found[1], {"client": client, **calls})
    assert read[0] > 0 and rendered == [0] and "mode='counted', slot=0" in capsys.readouterr().out
    assert len(found[1].splitlines()) <= 8
