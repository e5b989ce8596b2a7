"""Several names and options, and the blocks that hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._lock import Lock

if TYPE_CHECKING:
    from ._lease import Seconds
    from ._leases import Leases


class Locks(Lock):
    """Several locks to be taken together, all or nothing. Otherwise as a :class:`Lock`."""

    @property
    def names(self) -> list[str]:
        """The names, in the order in which they are taken."""
        return self._names

    if TYPE_CHECKING:

        def acquire(self, *, timeout: Seconds | None = None) -> Leases: ...

        async def acquire_async(self, *, timeout: Seconds | None = None) -> Leases: ...

        def try_acquire(self) -> Leases | None: ...

        async def try_acquire_async(self) -> Leases | None: ...

        def __enter__(self) -> Leases: ...

        async def __aenter__(self) -> Leases: ...

    def __repr__(self) -> str:
        return f"<Locks {self.names!r}>"
