"""A name and options, and the blocks that hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from . import _host, _leasehold
from ._block import AsyncBlock, AsyncExit
from ._lease import Lease, Seconds

_Kind = TypeVar("_Kind", bound=AsyncBlock | Lease)


class Lock(_leasehold.Lock):
    """A lock to be taken, for threads, greenlets and coroutines. Making one does no I/O.

    It can be used again, and by many threads and tasks at once, each of which
    holds a lease of its own. It is not reentrant: who takes a lock twice waits for
    itself. Without a ``wait``, inside of a ``with`` or ``async with`` of the same thread,
    greenlet or task, that raises Refused at once, unless the block is in a generator.
    """

    def __init__(self, lock: _leasehold.Lock) -> None:
        self._cancels = True
        # Blocks that began as methods, and not by `with`: exit stacks do that.
        self._entered: list[tuple[int, AsyncBlock | Lease]] = []

    def acquire(self, *, timeout: Seconds | None = None) -> Lease:
        """Wait for the lock and hold it, for no longer than the timeout if there is
        one, or the lock's ``wait``; but a client that is not connected yet gives a server
        that hangs all of the URL's ``connect_timeout``, 5 s unless set. Ctrl-C ends the wait.

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
        __aexit__ = AsyncExit()

    async def __aenter__(self) -> Lease:
        opened = AsyncBlock.opened(self)
        block = opened or AsyncBlock(self)
        task, is_inside = _host.block(2)
        lease = await block.enter(self._acquire(None), self._cancels)
        if opened is None:
            self._entered.append((task, block))
        elif is_inside:
            lease._keep_for(task)
        return lease

    def _refuse(self) -> None:
        _host.refuse(f"waiting for lock {self.name!r}", "`await lock.acquire_async()`")

    def _enter(self) -> Lease:
        lease = self.acquire()
        self._entered.append((_host.task(), lease))
        return lease

    def _exit(self, *raised: Any) -> None:
        self._left(Lease).__exit__(*raised)

    def _left(self, kind: type[_Kind]) -> _Kind:
        """The block that is left: the innermost of one's own. Both halves of a generator
        may run in different threads or tasks, as web frameworks and test fixtures do it;
        then it is the only one, for only one at a time can hold the lock."""
        here = _host.task()
        blocks = [entered for entered in self._entered if isinstance(entered[1], kind)]
        own = [entered for entered in blocks if entered[0] == here]
        blocks = own or blocks
        if not own and len(blocks) != 1:
            raise RuntimeError(
                f"cannot tell which block of lock {self.name!r} is left here; use "
                "`with lock.acquire():` for one that begins in another thread or task"
            )
        self._entered.remove(blocks[-1])
        return cast(_Kind, blocks[-1][1])

    def __repr__(self) -> str:
        return f"<Lock {self.name!r}>"
