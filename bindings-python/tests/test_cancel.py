"""Grants whose caller has gone."""

from __future__ import annotations

import asyncio
import random

import leasehold
import pytest
from rig import LONG, assert_free


async def take(lock: leasehold.Lock) -> None:
    lease = await lock.acquire_async()
    await lease.release_async()


def test_a_timeout_around_the_moment_of_the_grant_leaves_nothing(
    client: leasehold.Client, name: str
) -> None:
    lock = client.lock(name, ttl=LONG)

    async def main() -> tuple[int, int]:
        counts = [0, 0]
        for i in range(200):
            try:
                lease = await asyncio.wait_for(lock.acquire_async(), i * 2e-5)
            except asyncio.TimeoutError:
                counts[0] += 1
            else:
                counts[1] += 1
                await lease.release_async()
            lease = await lock.acquire_async(timeout=5)
            await lease.release_async()
        return counts[0], counts[1]

    cut, granted = asyncio.run(main())
    assert cut > 0 and granted > 0, "the sweep covers the moment"
    assert_free(client, name)


def test_a_timeout_around_the_moment_of_a_hand_over_leaves_nothing(
    one: leasehold.Client, other: leasehold.Client, name: str
) -> None:
    lock = one.lock(name, ttl=LONG)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for holder in (other, one):
            for i in range(60):
                held = await holder.lock(name, ttl=LONG).acquire_async(timeout=5)
                released = asyncio.ensure_future(asyncio.sleep(0.01))
                began = loop.time()
                released.add_done_callback(
                    lambda _, held=held: loop.create_task(held.release_async())  # type: ignore[misc]
                )
                try:
                    lease = await asyncio.wait_for(lock.acquire_async(), 0.008 + i * 1e-4)
                except asyncio.TimeoutError:
                    pass
                else:
                    await lease.release_async()
                await asyncio.sleep(max(0.0, began + 0.02 - loop.time()))

    asyncio.run(main())
    assert_free(other, name)


def test_tasks_cancelled_at_random_moments_leave_nothing(
    one: leasehold.Client, other: leasehold.Client, name: str
) -> None:
    names = [f"{name}/{i}" for i in range(7)]
    dice = random.Random(42)

    async def take_for_ever(lock: leasehold.Lock) -> None:
        while True:
            await take(lock)

    async def main() -> None:
        for _ in range(10):
            tasks = [
                asyncio.ensure_future(
                    take_for_ever(dice.choice((one, other)).lock(which, ttl=LONG))
                )
                for which in dice.choices(names, k=50)
            ]
            for task in dice.sample(tasks, len(tasks)):
                await asyncio.sleep(dice.choice((0, dice.random() * 0.001)))
                assert task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert all(task.cancelled() for task in tasks)
            # The line goes on.
            await asyncio.gather(
                *(take(one.lock(which, ttl=LONG, wait=5)) for which in names),
                *(take(other.lock(which, ttl=LONG, wait=5)) for which in names),
            )

    asyncio.run(main())
    for which in names:
        assert_free(one, which)
        assert_free(other, which)


def test_a_cancelled_waiter_does_not_stop_those_behind_it(
    client: leasehold.Client, name: str
) -> None:
    lock = client.lock(name, ttl=LONG)

    async def main() -> None:
        held = await lock.acquire_async()
        order: list[int] = []

        async def wait(number: int) -> None:
            async with lock:
                order.append(number)

        waiters = []
        for number in range(10):
            waiters.append(asyncio.ensure_future(wait(number)))
            await asyncio.sleep(0)
        for number in (0, 3, 4, 9):
            waiters[number].cancel()
        await held.release_async()
        await asyncio.wait_for(asyncio.gather(*waiters, return_exceptions=True), 10)
        assert order == [1, 2, 5, 6, 7, 8]

    asyncio.run(main())


def test_a_task_cancelled_after_its_grant_was_queued_gives_it_back(
    client: leasehold.Client, name: str
) -> None:
    lock = client.lock(name, ttl=LONG)

    async def main() -> None:
        for _ in range(50):
            held = await lock.acquire_async(timeout=5)
            waiter = asyncio.ensure_future(lock.acquire_async())
            await asyncio.sleep(0.001)
            await held.release_async()
            # Granted by now, perhaps seen by the loop, not by the task.
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                lease = await waiter
                await lease.release_async()
                raise asyncio.CancelledError
        lease = await lock.acquire_async(timeout=5)
        await lease.release_async()

    asyncio.run(main())


def test_a_call_that_is_never_awaited_takes_nothing(client: leasehold.Client, name: str) -> None:
    call = client.lock(name, ttl=LONG)._acquire(None)
    del call
    coroutine = client.lock(name, ttl=LONG).acquire_async()
    coroutine.close()
    assert client.lock(name).try_acquire() is not None


def test_a_second_cancel_changes_nothing(
    one: leasehold.Client, other: leasehold.Client, name: str
) -> None:
    async def main() -> None:
        for _ in range(50):
            task = asyncio.ensure_future(take(one.lock(name, ttl=LONG)))
            await asyncio.sleep(0)
            task.cancel()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert_free(other, name)
