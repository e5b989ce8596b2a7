"""What a client tells of its leases."""

from __future__ import annotations

import asyncio
import threading

import leasehold
import pytest


def test_a_thread_reads_what_happens(client: leasehold.Client, name: str) -> None:
    told: list[leasehold.Event] = []
    events = client.events()
    reader = threading.Thread(target=lambda: told.extend(events))
    reader.start()
    with client.lock(name) as lease:
        fence = lease.fence
    lost = client.lock(name).acquire()
    client.break_lock(name)
    assert lost.lost.wait(10)
    client.close()
    reader.join(10)
    assert [(event.what, event.reason) for event in told] == [
        ("acquired", None),
        ("released", None),
        ("acquired", None),
        ("lost", "gone"),
    ]
    assert (told[0].lock, told[0].fence) == (name, fence)
    assert str(told[3]).endswith("lost: the backend says it is not held any more")


def test_a_task_reads_what_happens(client: leasehold.Client, name: str) -> None:
    async def main() -> None:
        events = client.events()
        async with client.lock(name):
            with pytest.raises(leasehold.InvalidInput, match="async for"):
                next(events)
            first = await anext(events)
            # One who stops waiting misses nothing.
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0)
            waiting.cancel()
        await client.close_async()
        assert [first.what] + [event.what async for event in events] == ["acquired", "released"]

    asyncio.run(main())
