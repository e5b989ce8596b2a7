"""Blocks and leases in threads."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import leasehold
import pytest
from rig import LONG, Redis, assert_free, until


def test_fifty_threads_take_one_lock_object_in_turn(client: leasehold.Client, name: str) -> None:
    lock = client.lock(name, ttl=LONG)
    inside: list[int] = []
    fences: list[int] = []

    def work(number: int) -> None:
        for _ in range(4):
            with lock as lease:
                inside.append(number)
                assert inside == [number]
                fences.append(lease.fence)
                inside.clear()

    with ThreadPoolExecutor(50) as threads:
        list(threads.map(work, range(50)))
    assert len(fences) == 200 and fences == sorted(set(fences))


def test_a_loss_is_told_to_all_who_ask(
    one: leasehold.Client, other: leasehold.Client, name: str
) -> None:
    lease = one.lock(name, ttl=LONG).acquire()
    lease.check()
    assert lease.is_valid and not lease.lost.is_set() and lease.lost.reason is None
    assert lease.lost.wait(0.01) is False
    with ThreadPoolExecutor(3) as threads:
        waits = [threads.submit(lease.lost.wait) for _ in range(3)]
        assert other.break_lock(name)
        assert [wait.result(10) for wait in waits] == [True] * 3
    assert not lease.is_valid and lease.lost.is_set() and lease.lost.reason == "gone"
    with pytest.raises(leasehold.LeaseLost, match=name):
        lease.check()
    for _ in range(2):
        with pytest.raises(leasehold.LeaseLost):
            lease.release()


def test_a_release_ends_the_wait_for_a_loss(client: leasehold.Client, name: str) -> None:
    lease = client.lock(name).acquire()
    with ThreadPoolExecutor(1) as threads:
        wait = threads.submit(lease.lost.wait)
        lease.release()
        assert wait.result(10) is False
    with pytest.raises(leasehold.NotHeld):
        lease.check()
    lease.release()
    assert not lease.lost.is_set() and lease.lost.wait(0) is False


def test_a_wait_whose_time_is_over_already_ends_at_once(
    client: leasehold.Client, name: str
) -> None:
    with client.lock(name) as lease:
        done = threading.Event()

        def wait() -> None:
            # What is left until some moment is often a bit less than nothing.
            assert lease.lost.wait(-0.001) is False
            assert lease.lost.wait(0) is False
            done.set()

        threading.Thread(target=wait, daemon=True).start()
        assert done.wait(5)


def test_a_lost_lease_fails_the_block_unless_the_body_failed(
    one: leasehold.Client, other: leasehold.Client, name: str
) -> None:
    with pytest.raises(leasehold.LeaseLost):
        with one.lock(name, ttl=LONG) as lease:
            other.break_lock(name)
            assert lease.lost.wait(10)
    with pytest.raises(ZeroDivisionError):
        with one.lock(name, ttl=LONG) as lease:
            other.break_lock(name)
            assert lease.lost.wait(10)
            1 / 0


def test_a_server_that_dies_does_not_hide_what_the_body_raised(server: Redis, name: str) -> None:
    with leasehold.connect(server.url) as client:
        with pytest.raises(ZeroDivisionError):
            with client.lock(name, ttl=2):
                server.kill()
                1 / 0


def test_a_lease_that_is_forgotten_is_free_soon(
    one: leasehold.Client, other: leasehold.Client, name: str
) -> None:
    lease = one.lock(name, ttl=LONG).acquire()
    assert other.lock(name).try_acquire() is None
    del lease
    assert_free(other, name, 2)


def test_who_waits_for_a_loss_does_not_keep_the_lease(
    one: leasehold.Client, other: leasehold.Client, name: str
) -> None:
    lease = one.lock(name, ttl=LONG).acquire()
    with ThreadPoolExecutor(1) as threads:
        wait = threads.submit(lease.lost.wait)
        until(wait.running)
        time.sleep(0.05)
        del lease
        gc.collect()
        assert wait.result(5) is False
    assert_free(other, name, 2)


def test_a_block_may_be_left_by_another_thread(client: leasehold.Client, name: str) -> None:
    # Web frameworks run both halves of a generator wherever there is a free thread.
    lock = client.lock(name, ttl=LONG)

    @contextlib.contextmanager
    def dependency() -> object:
        with lock as lease:
            yield lease

    block = dependency()
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        lease = first.submit(block.__enter__).result()
        second.submit(block.__exit__, None, None, None).result()
    assert not lease.is_valid
    assert client.lock(name).try_acquire()


def test_a_block_inside_of_one_that_was_lost_has_a_lease_of_its_own(
    one: leasehold.Client, other: leasehold.Client, name: str
) -> None:
    lock = one.lock(name, ttl=LONG)
    with pytest.raises(leasehold.LeaseLost):
        with lock as outer:
            other.break_lock(name)
            assert outer.lost.wait(10)
            with lock as inner:
                inner.check()
                assert inner.fence > outer.fence
            with pytest.raises(leasehold.NotHeld):
                inner.check()
    assert_free(other, name)


def test_a_lease_can_be_a_block(client: leasehold.Client, name: str) -> None:
    with client.lock(name, ttl=LONG).acquire() as lease:
        assert lease.is_valid
    assert not lease.is_valid
    lease.release()


def test_a_closed_client_says_so(client: leasehold.Client, name: str) -> None:
    lease = client.lock(name, ttl=LONG).acquire()
    with ThreadPoolExecutor(1) as threads:
        waiter = threads.submit(client.lock(name).acquire)
        time.sleep(0.05)
        client.close()
        with pytest.raises(leasehold.ClientClosed):
            waiter.result(10)
    assert lease.lost.wait(5) and lease.lost.reason == "closed"
    with pytest.raises(leasehold.ClientClosed):
        client.lock(name).acquire()
