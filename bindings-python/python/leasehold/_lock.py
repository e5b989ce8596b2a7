"""A name and options, and the blocks that hold it."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

from . import _host, _leasehold
from ._lease import Lease, Seconds

if TYPE_CHECKING:
    from types import TracebackType

    from ._guard import Guard


class Lock(_leasehold.Lock):
    """A lock to be taken, for threads, greenlets and coroutines. Making one does no I/O.

    It can be used again, and by many threads and tasks at once, each of which
    holds a lease of its own. It is not reentrant: who takes a lock twice waits for
    itself.
    """

    def __init__(self, lock: _leasehold.Lock) -> None:
        self._cancels = True
        # Blocks that began as methods, and not by `with`: exit stacks do that.
        self._entered: list[tuple[tuple[str, int], _AsyncBlock | Lease]] = []
        self._opened: list[weakref.ref[_AsyncBlock]] = []

    def acquire(self, *, timeout: Seconds | None = None) -> Lease:
        """Wait for the lock and hold it, for no longer than the timeout if there is
        one, or the lock's ``wait``. Ctrl-C ends the wait.

        Raises LockTimeout when it was busy all the time, Unavailable when the
        backend did not answer. Nothing is held after an exception.
        """
        self._refuse()
        return self._acquire(timeout).wait()

    async def acquire_async(self, *, timeout: Seconds | None = None) -> Lease:
        """:meth:`acquire` for asyncio and trio. Cancelled at any point, nothing is held."""
        return await self._acquire(timeout)

    def try_acquire(self) -> Lease | None:
        """Hold the lock if it is free now; None if it is not."""
        return self._try_acquire().wait()

    async def try_acquire_async(self) -> Lease | None:
        """:meth:`try_acquire` for asyncio and trio."""
        return await self._try_acquire()

    if TYPE_CHECKING:

        def __enter__(self) -> Lease: ...

        def __exit__(self, *raised: Any) -> None: ...

        async def __aexit__(self, *raised: Any) -> None: ...

    else:
        __enter__ = _leasehold.Enter()
        __exit__ = _leasehold.Exit()

    async def __aenter__(self) -> Lease:
        block = self._open()
        return await block.enter(self)

    def _refuse(self) -> None:
        _host.refuse(f"waiting for lock {self.name!r}", "`await lock.acquire_async()`")

    def _enter(self) -> Lease:
        lease = self.acquire()
        self._entered.append((_host.current(), lease))
        return lease

    def _exit(self, *raised: Any) -> None:
        block = self._left()
        assert isinstance(block, Lease)
        block.__exit__(*raised)

    def _open(self) -> _AsyncBlock:
        """The block that this thread has looked up ``__aexit__`` for, and begins now."""
        for weak in reversed(self._opened):
            block = weak()
            if block is not None and block.thread == threading.get_ident():
                self._opened.remove(weak)
                return block
        block = _AsyncBlock(self)
        self._entered.append((_host.current(), block))
        return block

    def _left(self) -> _AsyncBlock | Lease:
        """The block that is left: the innermost of one's own. Both halves of a generator
        may run in different threads or tasks, as web frameworks and test fixtures do it;
        then it is the only one, for only one at a time can hold the lock."""
        here = _host.current()
        own = [entered for entered in self._entered if entered[0] == here]
        blocks = own or list(self._entered)
        if not own and len(blocks) != 1:
            raise RuntimeError(
                f"cannot tell which block of lock {self.name!r} is left here; use "
                "`with lock.acquire():` for one that begins in another thread or task"
            )
        self._entered.remove(blocks[-1])
        return blocks[-1][1]

    def __repr__(self) -> str:
        return f"<Lock {self.name!r}>"


class _AsyncBlock:
    """One ``async with``. What the interpreter keeps as its ``__aexit__`` holds the
    lease, so that it goes with the block, however that ends; see ``src/block.rs``."""

    def __init__(self, lock: Lock) -> None:
        self.thread = threading.get_ident()
        self._lock = lock
        self._lease: Lease | None = None
        self._guard: Guard | None = None

    async def enter(self, lock: Lock) -> Lease:
        host = _host.scheduler()
        self._lease = lease = await host.wait(lock._acquire(None))
        if lock._cancels:
            self._guard = host.guard(lease, host.reactor)
        return lease

    async def __call__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        lease, self._lease = self._lease, None
        if lease is None:
            # Called as a method: the block began by another one.
            block = self._lock._left()
            assert isinstance(block, _AsyncBlock)
            await block(kind, error, trace)
        elif kind is GeneratorExit:
            # A coroutine that is closed cannot wait for the answer.
            lease._finish().start()
        elif self._guard is not None and self._guard.has_ended(kind, error, trace):
            # Our own cancellation becomes LeaseLost, which the release raises.
            await lease.release_async()
        else:
            await lease.__aexit__(kind, error, trace)


class _AsyncExit:
    def __get__(self, lock: Lock | None, _: object = None) -> Any:
        if lock is None:
            return self
        block = _AsyncBlock(lock)
        lock._opened = [weak for weak in lock._opened if weak() is not None]
        lock._opened.append(weakref.ref(block))
        return block

    async def __call__(self, lock: Lock, *raised: Any) -> None:
        await _AsyncBlock(lock)(*raised)


if not TYPE_CHECKING:
    Lock.__aexit__ = _AsyncExit()
