"""What is held."""

from __future__ import annotations

import sys
from collections.abc import Generator
from datetime import timedelta
from typing import TYPE_CHECKING

from . import _leasehold
from ._errors import InvalidInput

if TYPE_CHECKING:
    from types import TracebackType

Seconds = float | timedelta


def refuse_in_a_loop(what: str, cure: str) -> None:
    """Where an event loop runs in this thread, it would stand still."""
    # Importing it takes longer than all of this package, and who runs a loop has it.
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and asyncio._get_running_loop() is not None:
        raise InvalidInput(
            f"{what} would block the event loop that runs in this thread; use `async with` or {cure}"
        )


class Lost:
    """Word of a lease's end. For threads it is like an event; a coroutine awaits it."""

    def __init__(self, watch: _leasehold.Watch) -> None:
        # Not the lease: who waits for its end does not keep it.
        self._watch = watch

    def is_set(self) -> bool:
        """Whether the lease was lost."""
        return self._watch.loss is not None

    @property
    def reason(self) -> str | None:
        """Why: ``"expired"``, ``"gone"``, ``"max_hold"`` or ``"closed"``."""
        return self._watch.loss

    def wait(self, timeout: Seconds | None = None) -> bool:
        """Block until the lease is lost, or released, or the time is over; whether
        it was lost."""
        refuse_in_a_loop("waiting for the end of a lease", "`await lease.lost`")
        self._watch.ended().wait(timeout)
        return self.is_set()

    def __await__(self) -> Generator[object, None, str | None]:
        """Wait until the lease is lost, and answer the reason; None when it was
        released. It comes 10 % of the ttl before the end when renewals fail."""
        return (yield from self._watch.ended().__await__())


class Lease(_leasehold.Lease):
    """A lock that is held: a fence, a deadline, and word when it is lost.

    It is renewed in the background, by a thread that needs no interpreter lock,
    until it is released, lost, or garbage. Leaving a ``with`` block releases it, and
    raises LeaseLost if it was not held to its end and the body raised nothing itself;
    that the release is not confirmed is no error there, for the work was done in time.
    After a fork the child's copy is inert: it is not valid, and nothing that is done
    with it there touches the lock.
    """

    def __init__(self, lease: _leasehold.Lease) -> None:
        self.lost = Lost(lease._watch())
        """Set, and ready, when the lease is lost."""

    def renew(self) -> None:
        """Renew now, by a full ttl. Needed only with ``auto_renew=False``."""
        self._renew().wait()

    async def renew_async(self) -> None:
        """:meth:`renew` for asyncio."""
        await self._renew()

    def release(self) -> None:
        """Give it back; all calls wait for the first and get its answer. Raises
        LeaseLost when it was not held to the end, which may be known only now. Raises
        Unavailable when the backend did not confirm: then it was given back in time,
        and the release is repeated in the background until the ttl has passed."""
        self._release().wait()

    async def release_async(self) -> None:
        """:meth:`release` for asyncio. Cancelled midway, it goes on in the background."""
        await self._release()

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._finish().wait()
        except Exception:
            # The body's own error says more.
            if error is None:
                raise

    async def __aenter__(self) -> Lease:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._finish()
        except Exception:
            # The body's own error says more.
            if error is None:
                raise

    def __repr__(self) -> str:
        state = f"{self.remaining:.3f} s left" if self.is_valid else (self.lost.reason or "over")
        return f"<Lease {self.name!r}, fence {self.fence}, {state}>"
