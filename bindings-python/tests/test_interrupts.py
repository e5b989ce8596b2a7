"""Handlers of signals that raise, as Celery's soft time limit and pytest-timeout do it:
between any two instructions, and nothing stays held."""

from __future__ import annotations

import contextlib
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType

import leasehold
import pytest
from rig import LONG, run, until

# So many hit the block, or the moments around it.
HITS = 1000


class Interrupted(Exception):
    pass


@pytest.fixture
def raising() -> Iterator[None]:
    def handler(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handler)
    yield
    signal.signal(signal.SIGALRM, before)


def interrupt(work: Callable[[], None], after: float) -> BaseException | None:
    """Raise in it, or just after it."""
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, after)
            work()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Interrupted as interrupted:
        return interrupted
    return None


def duration(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    for _ in range(50):
        work()
    return (time.perf_counter() - began) / 50


def interruptions(work: Callable[[], None], hits: int) -> Iterator[BaseException]:
    """Interrupt it at random moments, until so many have hit."""
    dice, count, rounds, span = random.Random(5), 0, 0, 0.0
    while count < hits:
        if rounds % 100 == 0:
            # A machine under load is not always as slow.
            span = 1.3 * duration(work)
        rounds += 1
        interrupted = interrupt(work, 1e-6 + dice.random() * span)
        if interrupted is not None:
            count += 1
            yield interrupted


def with_lock(lock: leasehold.Lock) -> Callable[[], None]:
    def work() -> None:
        with lock:
            pass

    return work


def with_a_name(lock: leasehold.Lock) -> Callable[[], None]:
    # Whoever has it keeps it beyond the block.
    def work() -> None:
        with lock as work.lease:  # type: ignore[attr-defined]
            pass

    return work


def with_a_body_that_raises(lock: leasehold.Lock) -> Callable[[], None]:
    def work() -> None:
        with contextlib.suppress(ZeroDivisionError):
            with lock:
                1 / 0

    return work


def with_acquire(lock: leasehold.Lock) -> Callable[[], None]:
    def work() -> None:
        with lock.acquire():
            pass

    return work


WAYS = [with_lock, with_a_name, with_a_body_that_raises, with_acquire]


@pytest.mark.parametrize("way", WAYS)
def test_nothing_stays_held_however_often_a_block_is_interrupted(
    way: Callable[[leasehold.Lock], Callable[[], None]],
    client: leasehold.Client,
    name: str,
    raising: None,
) -> None:
    lock = client.lock(name, ttl=LONG)
    hits = HITS if client.backend == "memory" else HITS // 10
    for interrupted in interruptions(way(lock), hits):
        # Its traceback, which is still there, has the frames.
        assert interrupted.__traceback__
        lock.acquire(timeout=5).release()


def test_nor_when_a_decorated_function_is(
    client: leasehold.Client, name: str, raising: None
) -> None:
    work = client.locked(name, ttl=LONG)(lambda: None)
    for interrupted in interruptions(work, HITS // 10):
        assert interrupted.__traceback__
        client.lock(name).acquire(timeout=5).release()


def is_free_or_rests(client: leasehold.Client, name: str) -> bool:
    status = client.status(name)
    return status is None or status.holder is None or status.holder.resting


def test_work_that_is_done_once_lets_go_wherever_it_is_interrupted() -> None:
    with leasehold.connect("memory:") as client:
        once = client.once("n", every=3600)
        for step in range(1000):
            seen = 0

            def trace(frame: FrameType, event: str, _: object) -> object:
                nonlocal seen
                if frame.f_code is not leasehold.Once.run.__code__:
                    return None
                frame.f_trace_opcodes = True
                if event == "opcode":
                    seen += 1
                    if seen > step:  # noqa: B023
                        raise Interrupted
                return trace  # noqa: B023

            before = sys.gettrace()
            sys.settrace(trace)
            try:
                once.run(lambda: None)
                break
            except Interrupted as interrupted:
                kept = interrupted
            finally:
                sys.settrace(before)
            assert kept.__traceback__
            until(lambda: is_free_or_rests(client, "n"), within=5)
            # Where it was done before that.
            client.break_lock("n")
        assert step > 20 and seen == step


def test_a_block_that_is_given_up_before_its_end_lets_go(name: str) -> None:
    # What the interpreter does when a handler raises between the end of the body and
    # `__exit__` (3.10), or between `__enter__` and the body (3.14): it drops both.
    with leasehold.connect("memory:") as client:
        lock = client.lock(name, ttl=LONG)
        leave = type(lock).__dict__["__exit__"].__get__(lock, type(lock))
        lease = lock.__enter__()
        assert lock.try_acquire() is None
        del leave
        assert not lease.is_valid
        lock.acquire(timeout=5).release()


def test_a_soft_time_limit_in_a_waiting_block_frees_its_place(name: str) -> None:
    body = """
import signal, sys
import leasehold
class SoftTimeLimit(Exception): pass
def handler(*_): raise SoftTimeLimit
signal.signal(signal.SIGALRM, handler)
client = leasehold.connect("memory:")
lock = client.lock(sys.argv[1], ttl=60)
for _ in range(20):
    held = lock.acquire()
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        with lock:
            raise AssertionError
    except SoftTimeLimit:
        pass
    held.release()
lock.acquire(timeout=5).release()
print("free")
"""
    assert run(body, name) == "free\n"
