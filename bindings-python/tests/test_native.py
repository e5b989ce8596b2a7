"""What goes on without the interpreter, and how much of it."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import time

import leasehold
from rig import LONG, assert_free


def hold_the_interpreter(seconds: float) -> None:
    # Unlike CDLL, PyDLL keeps the interpreter lock while C runs.
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def test_a_lease_outlives_three_ttls_without_the_interpreter(
    client: leasehold.Client, name: str
) -> None:
    beats: list[float] = []
    done = threading.Event()

    def beat() -> None:
        while not done.wait(0.01):
            beats.append(time.monotonic())

    thread = threading.Thread(target=beat)
    thread.start()
    with client.lock(name, ttl=0.4) as lease:
        hold_the_interpreter(1.3)
        assert lease.is_valid and not lease.lost.is_set()
        lease.check()
        assert client.lock(name).try_acquire() is None
    done.set()
    thread.join()
    gaps = [after - before for before, after in zip(beats, beats[1:])]
    assert max(gaps, default=1.3) > 1, "it was really held"


def test_a_lease_outlives_a_blocked_event_loop(client: leasehold.Client, name: str) -> None:
    async def main() -> None:
        async with client.lock(name, ttl=0.4) as lease:
            hold_the_interpreter(1.3)
            assert lease.is_valid
            await asyncio.sleep(0)

    asyncio.run(main())


def test_max_hold_ends_it_for_all_that(client: leasehold.Client, name: str) -> None:
    lease = client.lock(name, ttl=0.4, max_hold=0.6).acquire()
    hold_the_interpreter(0.8)
    assert not lease.is_valid
    assert lease.lost.wait(5) and lease.lost.reason == "max_hold"


def test_two_thousand_tasks_take_one_lock_in_turn(client: leasehold.Client, name: str) -> None:
    lock = client.lock(name, ttl=LONG)
    inside: list[int] = []
    fences: list[int] = []

    async def one(number: int) -> None:
        async with lock as lease:
            inside.append(number)
            assert inside == [number]
            fences.append(lease.fence)
            await asyncio.sleep(0)
            inside.clear()

    async def main() -> None:
        await asyncio.wait_for(asyncio.gather(*map(one, range(2000))), 60)

    asyncio.run(main())
    assert len(fences) == 2000 and fences == sorted(set(fences))
    assert_free(client, name)


def test_two_thousand_tasks_take_many_locks(client: leasehold.Client, name: str) -> None:
    async def one(number: int) -> None:
        async with client.lock(f"{name}/{number % 100}", ttl=LONG):
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.wait_for(asyncio.gather(*map(one, range(2000))), 60)

    asyncio.run(main())
    assert not [status for status in client.list() if status.name.startswith(name)]


def test_three_thousand_leases_live_on(one: leasehold.Client, name: str) -> None:
    async def main() -> None:
        locks = [one.lock(f"{name}/{i}", ttl=3) for i in range(3000)]
        leases = await asyncio.gather(*(lock.acquire_async() for lock in locks))
        await asyncio.sleep(4)
        assert all(lease.is_valid for lease in leases)
        await asyncio.gather(*(lease.release_async() for lease in leases))

    asyncio.run(main())
    assert_free(one, f"{name}/2999")
