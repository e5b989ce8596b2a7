"""What cancels the body of an ``async with`` when its lease is lost."""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

    from . import _leasehold
    from ._lease import Lease


class Guard:
    """It keeps neither the task nor the lease, for the scheduler keeps it."""

    def __init__(self, lease: Lease, reactor: _leasehold.Reactor) -> None:
        self._name = lease.name
        self._ended: _leasehold.Waiting[str | None] | None = lease._watch().ended().begin(reactor)
        self._look()

    def _look(self) -> None:
        ended = self._ended
        if ended is None:
            return
        if not ended.poll():
            ended.park(self._look)
            return
        reason = ended.answer()
        if reason is not None:
            self._cancel(f"the lease of lock {self._name!r} was lost: {reason}")

    def _close(self) -> None:
        if self._ended is not None:
            self._ended.close()
        self._ended = None

    def _cancel(self, why: str) -> None:
        raise NotImplementedError

    def has_ended(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Whether it is what ends the block. Called once, at its end."""
        raise NotImplementedError


class TaskGuard(Guard):
    """For asyncio. As in asyncio.timeout(), a cancellation is told from others by the
    task's count of them."""

    def __init__(self, lease: Lease, reactor: _leasehold.Reactor) -> None:
        import asyncio

        task = asyncio.current_task()
        assert task is not None
        self._task: weakref.ref[asyncio.Task[Any]] = weakref.ref(task)
        self._before = task.cancelling() if sys.version_info >= (3, 11) else 0
        self._has_cancelled = False
        super().__init__(lease, reactor)

    def _cancel(self, why: str) -> None:
        task = self._task()
        if task is not None:
            self._has_cancelled = True
            task.cancel(why)

    def has_ended(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        import asyncio

        self._close()
        task = None if asyncio._get_running_loop() is None else asyncio.current_task()
        if not self._has_cancelled or task is None or task is not self._task():
            return False
        others = task.uncancel() > self._before if sys.version_info >= (3, 11) else False
        return isinstance(error, asyncio.CancelledError) and not others


class TrioGuard(Guard):
    """For trio: a scope around the body."""

    def __init__(self, lease: Lease, reactor: _leasehold.Reactor) -> None:
        self._scope = sys.modules["trio"].CancelScope()
        self._scope.__enter__()
        super().__init__(lease, reactor)

    def _cancel(self, why: str) -> None:
        self._scope.cancel()

    def has_ended(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self._close()
        return bool(self._scope.__exit__(kind, error, trace))
