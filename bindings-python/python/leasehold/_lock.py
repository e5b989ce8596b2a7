"""A name and options, and the blocks that hold it."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import _leasehold
from ._lease import Lease, Seconds, refuse_in_a_loop

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType


class Lock(_leasehold.Lock):
    """A lock to be taken, for threads and for asyncio. Making one does no I/O.

    It can be used again, and by many threads and tasks at once, each of which
    holds a lease of its own. It is not reentrant: who takes a lock twice waits for
    itself.
    """

    def __init__(self, lock: _leasehold.Lock) -> None:
        self._cancels = True
        self._blocks: list[_Block] = []

    def acquire(self, *, timeout: Seconds | None = None) -> Lease:
        """Wait for the lock and hold it, for no longer than the timeout if there is
        one, or the lock's ``wait``. Ctrl-C ends the wait.

        Raises LockTimeout when it was busy all the time, Unavailable when the
        backend did not answer. Nothing is held after an exception.
        """
        refuse_in_a_loop(f"waiting for lock {self.name!r}", "`await lock.acquire_async()`")
        return Lease(self._acquire(timeout).wait())

    async def acquire_async(self, *, timeout: Seconds | None = None) -> Lease:
        """:meth:`acquire` for asyncio. Cancelled at any point, nothing is held."""
        return Lease(await self._acquire(timeout))

    def try_acquire(self) -> Lease | None:
        """Hold the lock if it is free now; None if it is not."""
        lease = self._try_acquire().wait()
        return None if lease is None else Lease(lease)

    async def try_acquire_async(self) -> Lease | None:
        """:meth:`try_acquire` for asyncio."""
        lease = await self._try_acquire()
        return None if lease is None else Lease(lease)

    def __enter__(self) -> Lease:
        lease = self.acquire()
        self._blocks.append(_Block(threading.get_ident(), lease, None))
        return lease

    def __exit__(self, *raised: Any) -> None:
        here = threading.get_ident()
        self._left([block for block in self._blocks if block.owner == here]).lease.__exit__(*raised)

    async def __aenter__(self) -> Lease:
        import asyncio

        lease = await self.acquire_async()
        task = asyncio.current_task()
        assert task is not None
        guard = _Guard(lease, task) if self._cancels else None
        # A task that is forgotten where it stands leaves the block, too; one that
        # comes to its end has left that to others.
        blocks, weak = self._blocks, weakref.ref(task, lambda weak: _forget(blocks, weak))
        block = _Block(weak, lease, guard)
        task.add_done_callback(block.disown)
        blocks.append(block)
        return lease

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        import asyncio

        task = None if asyncio._get_running_loop() is None else asyncio.current_task()
        own = [block for block in self._blocks if task and block.owner == weakref.ref(task)]
        if kind is GeneratorExit and not own:
            # A garbage coroutine, whose task was forgotten above; the others' blocks
            # are none of its business. But a generator may outlive who began it.
            own = [block for block in self._blocks if block.owner is None]
            if not own or task is None:
                return
        block = self._left(own)
        if task is not None:
            task.remove_done_callback(block.disown)
        if block.guard is not None and block.guard.has_ended(task, error):
            # Our own cancellation becomes LeaseLost, which the release raises.
            await block.lease.release_async()
        else:
            await block.lease.__aexit__(kind, error, trace)

    def _left(self, own: list[_Block]) -> _Block:
        """The block that is left: the innermost of one's own. Both halves of a generator
        may run in different threads or tasks, as web frameworks and test fixtures do it;
        then it is the only one, for only one at a time can hold the lock."""
        blocks = own or list(self._blocks)
        if not own and len(blocks) != 1:
            raise RuntimeError(
                f"cannot tell which block of lock {self.name!r} is left here; use "
                "`with lock.acquire():` for one that begins in another thread or task"
            )
        self._blocks.remove(blocks[-1])
        return blocks[-1]

    def __repr__(self) -> str:
        return f"<Lock {self.name!r}>"


def _forget(blocks: list[_Block], owner: object) -> None:
    blocks[:] = [block for block in blocks if block.owner is not owner]


class _Block:
    """Somebody inside of a ``with``."""

    def __init__(self, owner: object, lease: Lease, guard: _Guard | None) -> None:
        self.owner: object = owner
        """A thread's number, or a task, weakly; None when that has ended."""
        self.lease = lease
        self.guard = guard

    def disown(self, _: object) -> None:
        self.owner = None


class _Guard:
    """Cancels a task when its lease is lost. As in asyncio.timeout(), a cancellation
    is told from others by the task's count of them. It keeps neither the task nor
    the lease, for the event loop keeps it."""

    def __init__(self, lease: Lease, task: asyncio.Task[Any]) -> None:
        self._name = lease.name
        self._task = weakref.ref(task)
        self._before = task.cancelling() if sys.version_info >= (3, 11) else 0
        self._has_cancelled = False
        self._ended: Iterator[Any] | None = lease._watch().ended().__await__()
        self._look()

    def _look(self, _: object = None) -> None:
        try:
            if self._ended is not None:
                next(self._ended).add_done_callback(self._look)
        except StopIteration as end:
            task = self._task()
            if end.value is not None and task is not None:
                self._has_cancelled = True
                task.cancel(f"the lease of lock {self._name!r} was lost: {end.value}")

    def has_ended(self, task: asyncio.Task[Any] | None, error: BaseException | None) -> bool:
        """Whether it is what ends the block. Called once, at its end."""
        import asyncio

        self._ended = None
        if not self._has_cancelled or task is not self._task() or task is None:
            return False
        others = task.uncancel() > self._before if sys.version_info >= (3, 11) else False
        return isinstance(error, asyncio.CancelledError) and not others
