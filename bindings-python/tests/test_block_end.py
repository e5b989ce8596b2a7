"""The end of an ``async with``: releases that fail, wait, or come from elsewhere."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import leasehold
import pytest
from rig import LONG, Redis, assert_free


def test_a_server_that_dies_does_not_hide_what_the_body_raised(server: Redis, name: str) -> None:
    async def main() -> None:
        async with leasehold.connect(server.url) as client:
            with pytest.raises(ZeroDivisionError):
                async with client.lock(name, ttl=2):
                    server.kill()
                    1 / 0

    asyncio.run(main())


def test_a_result_survives_a_release_that_is_not_confirmed(server: Redis, name: str) -> None:
    async def main() -> int:
        async with leasehold.connect(server.url) as client:
            async with client.lock(name, ttl=2):
                server.kill()
                return 42

    assert asyncio.run(main()) == 42


def test_a_cancel_while_the_release_is_under_way_does_not_stop_it(server: Redis, name: str) -> None:
    async def hold(lock: leasehold.Lock, leave: asyncio.Event) -> None:
        async with lock:
            await leave.wait()

    async def main() -> None:
        async with leasehold.connect(server.url) as client:
            lock, leave = client.lock(name, ttl=LONG), asyncio.Event()
            await (await lock.acquire_async()).release_async()
            task = asyncio.ensure_future(hold(lock, leave))
            while await lock.try_acquire_async() is not None:
                await asyncio.sleep(0.005)
            server.pause()
            task.cancel()
            await asyncio.sleep(0.05)  # in the release now
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, 2)
            server.resume()
            async with leasehold.connect(server.url) as other:
                await (await other.lock(name).acquire_async(timeout=10)).release_async()

    asyncio.run(main())


def test_a_block_may_be_left_by_another_task(client: leasehold.Client, name: str) -> None:
    # As fixtures of test frameworks, and exit stacks of servers, do it.
    lock = client.lock(name, ttl=LONG)

    async def enter() -> leasehold.Lease:
        return await lock.__aenter__()

    async def leave() -> None:
        await lock.__aexit__(None, None, None)

    async def main() -> None:
        lease = await asyncio.ensure_future(enter())
        await asyncio.ensure_future(leave())
        assert not lease.is_valid

    asyncio.run(main())
    assert_free(client, name)


def test_a_generator_that_is_closed_inside_of_a_block_gives_back(
    client: leasehold.Client, name: str
) -> None:
    async def items() -> object:
        async with client.lock(name, ttl=LONG):
            yield 1
            yield 2

    async def main() -> None:
        numbers = items()
        assert await numbers.__anext__() == 1  # type: ignore[attr-defined]
        await numbers.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())
    assert_free(client, name)


@pytest.mark.filterwarnings("ignore")
def test_a_task_that_is_garbage_gives_back(client: leasehold.Client, name: str) -> None:
    lock = client.lock(name, ttl=LONG)

    async def hold() -> None:
        async with lock:
            await asyncio.get_running_loop().create_future()  # nobody has it

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        task = asyncio.ensure_future(hold())
        await asyncio.sleep(0.02)
        assert await lock.try_acquire_async() is None
        del task
        gc.collect()
        await (await lock.acquire_async(timeout=5)).release_async()

    asyncio.run(main())


def test_one_lock_object_serves_many_tasks_and_threads(client: leasehold.Client, name: str) -> None:
    lock, inside = client.lock(name, ttl=LONG), []

    async def one() -> None:
        async with lock as lease:
            inside.append(lease.fence)
            await asyncio.sleep(0)
            assert inside.pop() == lease.fence

    def thread() -> None:
        for _ in range(20):
            with lock as lease:
                inside.append(lease.fence)
                assert inside.pop() == lease.fence

    async def main() -> None:
        loop = asyncio.get_running_loop()
        threads = [loop.run_in_executor(None, thread) for _ in range(4)]
        await asyncio.gather(*(one() for _ in range(100)), *threads)

    asyncio.run(main())
    assert not lock._blocks


def test_a_busy_lock_times_out_and_says_so(client: leasehold.Client, name: str) -> None:
    async def main() -> None:
        async with client.lock(name):
            began = time.monotonic()
            with pytest.raises(leasehold.LockTimeout):
                async with client.lock(name, wait=0.1):
                    pass
            with pytest.raises(TimeoutError):
                await client.lock(name).acquire_async(timeout=0.1)
            assert 0.2 <= time.monotonic() - began < 5
            assert await client.lock(name).try_acquire_async() is None

    asyncio.run(main())


def test_a_flag_is_only_set(one: leasehold.Client, other: leasehold.Client, name: str) -> None:
    async def reason(lost: leasehold.Lost) -> str | None:
        return await lost

    async def main() -> None:
        with pytest.raises(leasehold.LeaseLost):
            async with one.lock(name, ttl=LONG, on_lost="flag") as lease:
                assert await other.break_lock_async(name)
                assert await asyncio.wait_for(reason(lease.lost), 10) == "gone"
                await asyncio.sleep(0.05)  # uninterrupted
                assert lease.lost.is_set()

    asyncio.run(main())


def test_a_block_that_was_not_under_the_lock_to_its_end_raises(server: Redis, name: str) -> None:
    with leasehold.connect(server.url) as client:
        events = client.events()
        lock = client.lock(name, ttl=LONG)
        with pytest.raises(leasehold.LeaseLost):
            with lock as lease:
                server.ask("FLUSHALL")
        assert lease.lost.reason == "gone"
        with pytest.raises(leasehold.LeaseLost):
            lease.release()

        async def main() -> None:
            async with lock:
                server.ask("FLUSHALL")

        with pytest.raises(leasehold.LeaseLost):
            asyncio.run(main())
        # What the body itself raised says more.
        with pytest.raises(ZeroDivisionError):
            with lock:
                server.ask("FLUSHALL")
                1 / 0
    told = [(event.what, event.reason) for event in events if event.lock == name]
    assert told == [("acquired", None), ("lost", "gone")] * 3


def test_a_server_that_comes_up_late_is_waited_for(server: Redis, name: str) -> None:
    server.kill()
    late = threading.Timer(2, server.start)
    late.start()
    # Entered, a client connects at once; made, when it is first used.
    client = leasehold.connect(server.url)
    assert client.lock(name).acquire(timeout=20).is_valid
    client.close()
    late.join()
    server.kill()
    late = threading.Timer(1, server.start)
    late.start()

    async def main() -> None:
        client = leasehold.connect(server.url)
        async with client.lock(name):
            pass
        await client.close_async()

    asyncio.run(main())
    late.join()


def test_no_timeout_at_all_takes_a_free_lock(server: Redis, name: str) -> None:
    with leasehold.connect(server.url) as client:
        for timeout in (0, 0.000001):
            client.lock(name).acquire(timeout=timeout).release()
        with client.lock(name):
            for timeout in (0, 0.000001):
                with pytest.raises(leasehold.LockTimeout):
                    client.lock(name).acquire(timeout=timeout)
