"""What is held."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from . import _host, _leasehold
from ._errors import LeaseholdError, note

if TYPE_CHECKING:
    from types import TracebackType

Seconds = float | timedelta


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

    @property
    def name(self) -> str | None:
        """The name of the lock that was lost, of several the first."""
        return self._watch.name

    def wait(self, timeout: Seconds | None = None) -> bool:
        """Block until the lease is lost, or released, or the time is over; whether
        it was lost."""
        _host.refuse("waiting for the end of a lease", "`await lease.lost`")
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

    # Nothing in Python makes one, see `into_python` in src/client.rs.

    @cached_property
    def lost(self) -> Lost:
        """Set, and ready, when the lease is lost."""
        return Lost(self._watch())

    def renew(self, *, ttl: Seconds | None = None) -> None:
        """Renew now, by a full ttl. Needed only with ``auto_renew=False``; then also by
        another ttl, which the lease has from then on. A shorter one moves the end back
        before the request is sent. Where one had no answer it may still arrive, and
        longer ones buy no more than that: ``remaining`` tells."""
        self._renew(ttl).wait()

    async def renew_async(self, *, ttl: Seconds | None = None) -> None:
        """:meth:`renew` for asyncio and trio."""
        await self._renew(ttl)

    def release(self) -> None:
        """Give it back; all calls wait for the first and get its answer. Raises
        LeaseLost when it was not held to the end, which may be known only now. Raises
        Unavailable when the backend did not confirm: then it was given back in time,
        and the release is repeated in the background until the ttl has passed."""
        self._release().wait()

    async def release_async(self) -> None:
        """:meth:`release` for asyncio and trio. Cancelled midway, it goes on in the background."""
        await self._release()

    def into_ticket(self, *, valid: Seconds | None = None) -> str:
        """Hand it to another process: a text for :meth:`Client.adopt` there, which goes on
        with the same fence. Valid for the ttl, or as long as it is said, up to a day; if
        nobody adopts it by then the lock is free. It is for one use, and a secret: whoever
        has it can take the lease.

        The lease is over here: releasing it, or leaving its block, does nothing more. Raises
        Unsupported on a quorum and for several locks together; then it is still held. After
        Unavailable there is no ticket, and the lease is given back in the background."""
        return self._into_ticket(valid).wait()

    async def into_ticket_async(self, *, valid: Seconds | None = None) -> str:
        """:meth:`into_ticket` for asyncio and trio. Cancelled midway, the lease is given back
        in the background."""
        return await self._into_ticket(valid)

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
        except LeaseholdError as failed:
            if error is None:
                raise
            note(error, failed)

    def __repr__(self) -> str:
        state = f"{self.remaining:.3f} s left" if self.is_valid else (self.lost.reason or "over")
        return f"<Lease {self.name!r}, fence {self.fence}, {state}>"
