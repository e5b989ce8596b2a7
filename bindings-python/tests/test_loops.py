"""Event loops of all kinds, and more than one of them."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import leasehold
import pytest
import uvloop
from leasehold import _host
from rig import LONG, assert_free, run


async def use(client: leasehold.Client, name: str, times: int = 20) -> None:
    lock = client.lock(name, ttl=LONG)

    async def one() -> None:
        async with lock as lease:
            await asyncio.sleep(0)
            lease.check()

    await asyncio.wait_for(asyncio.gather(*(one() for _ in range(times))), 20)


def test_uvloop_runs_it(client: leasehold.Client, name: str) -> None:
    for _ in range(3):
        loop = uvloop.new_event_loop()
        loop.run_until_complete(use(client, name, 200))
        loop.close()
    assert_free(client, name)


def test_uvloop_cancels_a_body_whose_lease_is_lost(
    one: leasehold.Client, other: leasehold.Client, name: str
) -> None:
    async def main() -> None:
        with pytest.raises(leasehold.LeaseLost):
            async with one.lock(name, ttl=0.6):
                assert await other.break_lock_async(name)
                await asyncio.sleep(20)

    loop = uvloop.new_event_loop()
    loop.run_until_complete(main())
    loop.close()


def test_one_loop_after_the_other_uses_a_client(client: leasehold.Client, name: str) -> None:
    for _ in range(20):
        asyncio.run(use(client, name, 3))


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_loop_that_is_blocked_or_closed_keeps_no_answers_from_others(
    client: leasehold.Client, name: str, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Answers are read in the loop's thread, as long as that goes on."""
    others, over = [], threading.Event()

    def other() -> None:
        while not over.is_set():
            with client.lock(f"{name}/other"):
                others.append(1)

    thread = threading.Thread(target=other)
    kept = client.lock(f"{name}/kept", ttl=1).acquire()
    loop = new_loop()
    loop.run_until_complete(use(client, name))
    thread.start()
    loop.run_until_complete(use(client, name))
    before = len(others)
    time.sleep(3)
    kept.check()
    assert len(others) > before
    loop.run_until_complete(use(client, name))
    loop.close()
    before = len(others)
    time.sleep(1.5)
    over.set()
    thread.join()
    assert len(others) > before
    kept.check()
    kept.release()


def test_a_loop_over_locks_that_are_free_stops_nothing_else(
    client: leasehold.Client, name: str
) -> None:
    lock, over = client.lock(name, ttl=LONG), []

    async def tick() -> int:
        ticks = 0
        while not over:
            await asyncio.sleep(0)
            ticks += 1
        return ticks

    async def main() -> None:
        ticker = asyncio.ensure_future(tick())
        for _ in range(200):
            async with lock:
                pass
        over.append(1)
        assert await ticker >= 200

    asyncio.run(main())


def test_loops_in_many_threads_use_a_client_at_once(client: leasehold.Client, name: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: asyncio.run(use(client, name)), range(16)))
    assert_free(client, name)


def test_a_loop_in_debug_mode_runs_it(client: leasehold.Client, name: str) -> None:
    asyncio.run(use(client, name), debug=True)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_loop_closed_with_a_waiter_leaves_nothing_and_a_new_one_works(
    new_loop: object, client: leasehold.Client, name: str
) -> None:
    held = client.lock(name, ttl=LONG).acquire()
    loop = new_loop()  # type: ignore[operator]
    loop.set_exception_handler(lambda *_: None)
    task = loop.create_task(client.lock(name, ttl=LONG).acquire_async())
    loop.run_until_complete(asyncio.sleep(0.02))
    loop.close()
    gone = weakref.ref(loop)
    del task, loop
    gc.collect()
    assert gone() is None, "nothing of ours keeps a loop that is closed"
    held.release()
    assert_free(client, name)
    asyncio.run(use(client, name))


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_loop_that_is_closed_is_garbage_without_a_collection(
    new_loop: Callable[[], asyncio.AbstractEventLoop], client: leasehold.Client, name: str
) -> None:
    def use_one() -> int:
        loop = new_loop()
        loop.run_until_complete(use(client, name, 3))
        loop.close()
        del loop
        return len(os.listdir("/proc/self/fd"))

    use_one()
    gc.collect()
    gc.disable()
    try:
        counts = [use_one() for _ in range(10)]
    finally:
        gc.enable()
    assert counts[-1] == counts[0], counts


class Stop(KeyboardInterrupt):
    pass


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_what_a_signal_raises_while_waiters_are_woken_is_raised_and_all_of_them_are_woken(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    client: leasehold.Client,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wake, times = _host._Turn.set, iter(range(1_000_000))

    def wake_or_raise(turn: _host._Turn) -> None:
        if next(times) % 3 == 2:
            raise Stop
        wake(turn)

    monkeypatch.setattr(_host._Turn, "set", wake_or_raise)
    loop = new_loop()
    holder = client.lock(name, ttl=LONG).acquire()
    using = loop.create_task(use(client, name, 10))
    loop.run_until_complete(asyncio.sleep(0.02))
    holder.release()
    raised = 0
    while not using.done():
        try:
            loop.run_until_complete(using)
        except Stop:
            raised += 1
    using.result()
    loop.close()
    assert raised
    assert_free(client, name)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_closed_in_a_block_gives_the_lock_back(
    new_loop: object, client: leasehold.Client, name: str
) -> None:
    lock = client.lock(name, ttl=LONG)

    async def hold() -> None:
        async with lock:
            await asyncio.sleep(60)

    loop = new_loop()  # type: ignore[operator]
    loop.set_exception_handler(lambda *_: None)
    task = loop.create_task(hold())
    loop.run_until_complete(asyncio.sleep(0.02))
    assert lock.try_acquire() is None
    loop.close()
    del task, loop
    gc.collect()
    assert_free(client, name)
    asyncio.run(use(client, name))


def test_a_loop_that_is_stuck_does_not_stop_others_from_connecting(redis: str, name: str) -> None:
    client = leasehold.connect(redis)
    loop = asyncio.new_event_loop()
    task = loop.create_task(client.connect_async())
    # Its connect has begun, and nobody goes on with it.
    loop.call_soon(loop.stop)
    loop.run_forever()
    with ThreadPoolExecutor(1) as threads:
        taken = threads.submit(assert_free, client, name, 2)
        try:
            taken.result(3)
        finally:
            loop.run_until_complete(task)
            loop.close()
    client.close()


SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import leasehold
path = sys.argv[1]
source = f'''
try:
    import leasehold
    said = "imported"
except ImportError as error:
    said = str(error)
open({path!r}, "w").write(said)
'''
one = interpreters.create()
interpreters.run_string(one, source)
interpreters.destroy(one)
print(open(path).read())
with leasehold.connect("memory:").lock("still works"):
    pass
"""


def test_a_subinterpreter_is_refused_clearly(tmp_path: object) -> None:
    out = run(SUBINTERPRETER, f"{tmp_path}/said")
    assert "subinterpreter" in out, out
