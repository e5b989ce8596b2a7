"""A thread, task or greenlet that asks again for what a block of its own holds."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import leasehold
import pytest
from rig import run, until

REFUSED = "this task holds it already, and would wait for itself"


@pytest.fixture
def client() -> Iterator[leasehold.Client]:
    with leasehold.connect("memory:") as client:
        yield client


def waits(client: leasehold.Client) -> bool:
    status = client.status("a")
    return status is not None and len(status.waiters) == 1


def test_a_thread_is_refused_what_its_block_holds(client: leasehold.Client) -> None:
    def nested() -> None:
        with client.lock("a"):
            pass

    ways: list[Callable[[], Any]] = [
        nested,
        client.lock("a").acquire,
        client.locks(["a", "b"]).acquire,
        client.lock("a", shared=True).acquire,
        client.election("a").campaign().acquire,
        client.locked("a")(lambda: None),
    ]
    for way in ways:
        with client.lock("a"):
            with pytest.raises(leasehold.Refused, match=REFUSED) as caught:
                way()
            assert caught.value.lock == "a" and caught.value.outcome == "not_held"
            assert client.lock("a").try_acquire() is None
            for wait in (0, 0.01):
                with pytest.raises(leasehold.LockTimeout, match=REFUSED):
                    client.lock("a", wait=wait).acquire()
            with client.lock("b"):
                pass
    with client.lock("a", shared=True), client.lock("a", shared=True):
        with pytest.raises(leasehold.Refused, match=REFUSED):
            nested()
    # Who was refused leaves its place in the background.
    until(lambda: client.status("a") is None)
    with pytest.raises(leasehold.Refused, match=REFUSED):
        client.once("a", every=60).run(nested)
    with pytest.raises(leasehold.Refused, match=REFUSED):
        client.election("a").lead(lambda _: nested())
    nested()


def test_a_coroutine_is_too(client: leasehold.Client) -> None:
    async def main() -> None:
        async def nested() -> None:
            async with client.lock("a"):
                pass

        async with client.lock("a"):
            for again in (nested, client.lock("a").acquire_async, client.locked("a")(nested)):
                with pytest.raises(leasehold.Refused, match=REFUSED):
                    await again()
        with pytest.raises(leasehold.Refused, match=REFUSED):
            await client.once("a", every=60).run_async(nested)
        await nested()

    asyncio.run(main())


def test_other_tasks_wait_for_the_end_of_the_block(client: leasehold.Client) -> None:
    async def main() -> None:
        async def nested() -> int:
            async with client.lock("a") as lease:
                return lease.fence

        async with client.lock("a") as lease:
            others = [asyncio.create_task(nested()) for _ in range(3)]
            others.append(asyncio.ensure_future(asyncio.gather(nested())))  # type: ignore[arg-type]
            while len((await client.status_async("a")).waiters) < 4:  # type: ignore[union-attr]
                await asyncio.sleep(0.001)
        fences = await asyncio.gather(*others)
        assert lease.fence not in fences

    asyncio.run(asyncio.wait_for(main(), 30))


def test_so_do_tasks_of_trio(client: leasehold.Client) -> None:
    trio = pytest.importorskip("trio")

    async def main() -> None:
        async def nested() -> None:
            async with client.lock("a"):
                pass

        async with trio.open_nursery() as nursery:
            async with client.lock("a"):
                nursery.start_soon(nested)
                while not (await client.status_async("a")).waiters:
                    await trio.sleep(0.001)
                with pytest.raises(leasehold.Refused, match=REFUSED):
                    await nested()

    trio.run(main)


def test_another_thread_waits_for_the_end_of_the_block(client: leasehold.Client) -> None:
    with ThreadPoolExecutor() as pool:
        with client.lock("a"):
            waiting = pool.submit(client.lock("a").acquire)
            until(lambda: waits(client))
        waiting.result(20).release()


def test_what_is_held_without_a_block_may_be_given_back_by_another_thread(
    client: leasehold.Client,
) -> None:
    held = client.lock("a").acquire()
    with ThreadPoolExecutor() as pool:
        given = pool.submit(lambda: until(lambda: waits(client)) and held.release())
        client.lock("a").acquire().release()
        given.result(20)
    stack = contextlib.ExitStack()
    stack.enter_context(client.lock("a"))
    with ThreadPoolExecutor() as pool:
        closed = pool.submit(lambda: until(lambda: waits(client)) and stack.close())
        client.lock("a").acquire().release()
        closed.result(20)


def test_a_generator_may_end_its_block_in_another_thread(client: leasehold.Client) -> None:
    # Web frameworks run both halves of a dependency wherever there is a free thread.
    def dependency() -> Iterator[None]:
        with client.lock("a"):
            yield

    first = dependency()
    next(first)
    with ThreadPoolExecutor() as pool:
        ended = pool.submit(lambda: until(lambda: waits(client)) and next(first, None))
        with client.lock("a"):
            pass
        ended.result(20)


def test_an_asynchronous_generator_may_end_it_in_another_task(client: leasehold.Client) -> None:
    # Fixtures of tests do it.
    async def main() -> None:
        async def fixture() -> AsyncIterator[None]:
            async with client.lock("a"):
                yield

        first = fixture()
        await anext(first)

        async def end() -> None:
            while not (await client.status_async("a")).waiters:  # type: ignore[union-attr]
                await asyncio.sleep(0.001)
            await anext(first, None)

        ending = asyncio.create_task(end())
        async with client.lock("a"):
            pass
        await ending

    asyncio.run(asyncio.wait_for(main(), 30))


def test_what_ends_by_itself_is_waited_for(client: leasehold.Client) -> None:
    with pytest.raises(leasehold.LeaseLost):
        with client.lock("a", auto_renew=False, ttl=0.2):
            client.lock("a").acquire(timeout=20).release()


def test_a_thread_that_has_the_number_of_an_earlier_one_is_not_taken_for_it(
    client: leasehold.Client,
) -> None:
    # Numbers of threads are used again.
    def hold() -> None:
        with client.lock("a"):
            pass

    for _ in range(50):
        thread = threading.Thread(target=hold)
        thread.start()
        thread.join()


def test_greenlets_wait_for_each_other(name: str) -> None:
    body = """
from gevent import monkey
monkey.patch_all()
import gevent, leasehold
client = leasehold.connect("memory:")
def nested():
    with client.lock("a"):
        return "waited"
with client.lock("a"):
    others = [gevent.spawn(nested) for _ in range(3)]
    while len(client.status("a").waiters) < 3:
        gevent.sleep(0.001)
    try:
        nested()
    except leasehold.Refused:
        print("refused")
print([other.get() for other in others])
"""
    assert run(body, name) == "refused\n['waited', 'waited', 'waited']\n"
