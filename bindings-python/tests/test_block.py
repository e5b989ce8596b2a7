"""``async with``: who is cancelled, what is raised, and what is given back."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import leasehold
import pytest
from rig import LONG, assert_free

# Before, a task does not count its cancellations.
COUNTS = sys.version_info >= (3, 11)
needs_counts = pytest.mark.skipif(not COUNTS, reason="new in Python 3.11")

Body = Callable[[], Coroutine[Any, Any, None]]


def cancelling() -> int:
    task = asyncio.current_task()
    return task.cancelling() if COUNTS and task else 0


class Rig:
    """A lock whose lease can be lost."""

    def __init__(self, one: leasehold.Client, other: leasehold.Client, name: str) -> None:
        self.one, self.other, self.name = one, other, name
        self.lock = one.lock(name, ttl=LONG)

    async def lose(self) -> None:
        assert await self.other.break_lock_async(self.name)

    def run(self, main: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        async def whole() -> None:
            await asyncio.wait_for(main(), 20)

        asyncio.run(whole())
        assert_free(self.other, self.name)


@pytest.fixture
def rig(one: leasehold.Client, other: leasehold.Client, name: str) -> Rig:
    return Rig(one, other, name)


def test_a_lost_lease_cancels_the_body_and_the_block_raises(rig: Rig) -> None:
    async def main() -> None:
        before, seen = cancelling(), []
        with pytest.raises(leasehold.LeaseLost, match=rig.name):
            async with rig.lock as lease:
                try:
                    await rig.lose()
                    await asyncio.sleep(30)
                except asyncio.CancelledError:
                    seen.append(lease.lost.reason)
                    raise
        assert seen == ["gone"] and cancelling() == before
        await asyncio.sleep(0)  # and nothing comes after

    rig.run(main)


def test_a_body_that_swallows_the_cancellation_gets_the_loss_at_the_end(rig: Rig) -> None:
    async def main() -> None:
        before = cancelling()
        with pytest.raises(leasehold.LeaseLost):
            async with rig.lock:
                with contextlib.suppress(asyncio.CancelledError):
                    await rig.lose()
                    await asyncio.sleep(30)
        assert cancelling() == before
        await asyncio.sleep(0)

    rig.run(main)


def test_an_error_that_the_body_makes_of_it_goes_on(rig: Rig) -> None:
    async def main() -> None:
        before = cancelling()
        with pytest.raises(ZeroDivisionError):
            async with rig.lock:
                try:
                    await rig.lose()
                    await asyncio.sleep(30)
                finally:
                    1 / 0
        assert cancelling() == before

    rig.run(main)


def test_a_cancellation_from_elsewhere_goes_on_and_gives_the_lock_back(rig: Rig) -> None:
    async def hold() -> None:
        async with rig.lock:
            await asyncio.sleep(30)

    async def main() -> None:
        for wait in (0, 0, 0.0005, 0.02):
            task = asyncio.ensure_future(hold())
            await asyncio.sleep(wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()

    rig.run(main)


@needs_counts
@pytest.mark.parametrize("first", ["loss", "cancellation"])
def test_both_at_once_is_a_cancellation(rig: Rig, first: str) -> None:
    counts = []

    async def hold(inside: asyncio.Event, lost: asyncio.Future[str | None]) -> None:
        try:
            async with rig.lock as lease:
                inside.set()
                try:
                    await asyncio.sleep(30)
                finally:
                    # A clean-up that takes longer than it takes for the other to come.
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.sleep(30)
                    lost.set_result(lease.lost.reason)
        finally:
            counts.append(cancelling())

    async def main() -> None:
        inside, lost = asyncio.Event(), asyncio.get_running_loop().create_future()
        task = asyncio.ensure_future(hold(inside, lost))
        await inside.wait()
        if first == "loss":
            await rig.lose()
            await asyncio.sleep(0.1)
            task.cancel()
        else:
            task.cancel()
            await asyncio.sleep(0)
            await rig.lose()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled() and await lost == "gone" and counts == [1]

    rig.run(main)


def test_the_inner_of_two_locks_can_be_lost_alone(rig: Rig) -> None:
    async def main() -> None:
        async with rig.one.lock(f"{rig.name}/outer", ttl=LONG) as outer:
            with pytest.raises(leasehold.LeaseLost, match=rig.name):
                async with rig.lock:
                    await rig.lose()
                    await asyncio.sleep(30)
            outer.check()
            await asyncio.sleep(0)

    rig.run(main)


def test_the_outer_of_two_locks_takes_the_inner_with_it(rig: Rig) -> None:
    async def main() -> None:
        before = cancelling()
        with pytest.raises(leasehold.LeaseLost) as caught:
            async with rig.lock:
                async with rig.one.lock(f"{rig.name}/inner", ttl=LONG) as inner:
                    await rig.lose()
                    await asyncio.sleep(30)
        assert caught.value.lock == rig.name and cancelling() == before
        with pytest.raises(leasehold.NotHeld):
            inner.check()

    rig.run(main)


@needs_counts
def test_timeouts_around_and_inside_stay_timeouts(rig: Rig) -> None:
    async def main() -> None:
        before = cancelling()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                async with rig.lock:
                    await asyncio.sleep(30)
        with pytest.raises(TimeoutError):
            async with rig.lock:
                async with asyncio.timeout(0.05):
                    await asyncio.sleep(30)
        with pytest.raises(leasehold.LeaseLost):
            async with asyncio.timeout(30), rig.lock, asyncio.timeout(30):
                await rig.lose()
                await asyncio.sleep(30)
        assert cancelling() == before

    rig.run(main)


@needs_counts
def test_a_group_of_tasks_inside_a_block_ends_with_the_lease(rig: Rig) -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(1)

    async def main() -> None:
        with pytest.raises(leasehold.LeaseLost):
            async with rig.lock, asyncio.TaskGroup() as group:
                group.create_task(work())
                group.create_task(work())
                await rig.lose()
        assert ended == [1, 1]

    rig.run(main)


@needs_counts
def test_a_block_in_a_group_of_tasks_fails_and_is_cancelled_like_any_task(rig: Rig) -> None:
    async def hold() -> None:
        async with rig.lock:
            await asyncio.sleep(30)

    async def fail(cause: Body) -> None:
        await asyncio.sleep(0.05)
        await cause()

    async def oops() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        for cause, kind in ((rig.lose, leasehold.LeaseLost), (oops, ZeroDivisionError)):
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(hold())
                    group.create_task(fail(cause))
            except BaseException as error:
                assert [type(one) for one in error.exceptions] == [kind]  # type: ignore[attr-defined]

    rig.run(main)
