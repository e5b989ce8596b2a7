"""``async with lock:``; what ``with lock:`` is, is in ``src/block.rs``."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

from . import _host

if TYPE_CHECKING:
    from types import TracebackType

    from . import _leasehold
    from ._guard import Guard
    from ._lease import Lease
    from ._lock import Lock

_opened: list[weakref.ref[AsyncBlock]] = []
"""The blocks that have not begun."""


class AsyncBlock:
    """One ``async with``. The interpreter keeps it as the block's ``__aexit__``, and it
    holds the lease, so that this goes with the block, however that ends."""

    def __init__(self, lock: Lock | None) -> None:
        self._thread = threading.get_ident()
        self._lock = lock
        self._lease: Lease | None = None
        self._guard: Guard | None = None

    @staticmethod
    def open(lock: Lock) -> AsyncBlock:
        """Looked up, and entered next."""
        block = AsyncBlock(lock)
        _opened.append(weakref.ref(block, _opened.remove))
        return block

    @staticmethod
    def opened(lock: Lock) -> AsyncBlock | None:
        """The block that this thread has looked up last, and begins now."""
        for weak in reversed(list(_opened)):
            block = weak()
            if block and block._lock is lock and block._thread == threading.get_ident():
                _opened.remove(weak)
                return block
        return None

    async def enter(self, call: _leasehold.Call[Lease], cancels: bool) -> Lease:
        lease: Lease = await _host.scheduler().wait(call)
        self.hold(lease, cancels)
        return lease

    def hold(self, lease: Lease, cancels: bool) -> None:
        self._lease = lease
        if cancels:
            host = _host.scheduler()
            self._guard = host.guard(lease, host.reactor)

    def __del__(self) -> None:
        if self._lease is not None:
            # It has gone in another way than by its end. Whoever else has the lease
            # shall not keep it.
            self._lease._finish().start()

    async def __call__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        lease, self._lease = self._lease, None
        if lease is None:
            assert self._lock is not None
            # Called as a method: the block began by another one.
            await self._lock._left(AsyncBlock)(kind, error, trace)
        elif kind is GeneratorExit:
            # A coroutine that is closed cannot wait for the answer.
            lease._finish().start()
        elif self._guard is not None and self._guard.has_ended(kind, error, trace):
            # Our own cancellation becomes LeaseLost, which the release raises.
            await lease.release_async()
        else:
            await lease.__aexit__(kind, error, trace)


class AsyncExit:
    """``__aexit__`` of a lock: a descriptor, as functions are."""

    def __get__(self, lock: Lock | None, _: object = None) -> Any:
        return self if lock is None else AsyncBlock.open(lock)

    async def __call__(self, lock: Lock, *raised: Any) -> None:
        """As ``type(lock).__aexit__(lock, …)``; exit stacks do that."""
        await AsyncBlock(lock)(*raised)
