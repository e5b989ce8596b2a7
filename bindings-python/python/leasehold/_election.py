"""Elections: a lock whose holder leads, and shows a value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from . import _host, _leasehold, _work
from ._errors import LeaseLost
from ._lease import Lease, Seconds
from ._lock import Lock

_Result = TypeVar("_Result")


class Leader(NamedTuple):
    """Who leads."""

    value: str
    """What it shows; empty if it has shown nothing."""
    term: int
    """The number of its term, which is the fence of its lease."""
    label: str
    """Its host and process id, and the value."""
    held_for: float
    """For how long it has led, in seconds."""
    free_in: float
    """When its term ends unless it is renewed, in seconds."""


class Term(Lease):
    """A term of a leader: a lease that shows a value. Leaving a ``with`` block resigns."""

    @property
    def number(self) -> int:
        """Its number, larger than that of every earlier term; it is the fence."""
        return self.fence

    def proclaim(self, value: str) -> None:
        """Show another value from now on. The term and its number stay. Raises LeaseLost
        when the term is over. Raises Unavailable when the backend did not answer: others see
        this value or the one before, and this one may even come after a later one; proclaim
        again."""
        self._proclaim(value).wait()

    async def proclaim_async(self, value: str) -> None:
        """:meth:`proclaim` for asyncio and trio."""
        await self._proclaim(value)

    def resign(self) -> None:
        """End the term, and hand the lead to the next in line; see :meth:`release`."""
        self.release()

    async def resign_async(self) -> None:
        """:meth:`resign` for asyncio and trio."""
        await self.release_async()

    def __repr__(self) -> str:
        return super().__repr__().replace("<Lease", "<Term", 1)


class Campaign(Lock):
    """A campaign, for a ``with`` block: it waits for the lead at the beginning, and resigns
    at the end. :meth:`acquire` does the first of that alone. ``async with`` cancels the
    task when the term is lost, and raises LeaseLost."""

    if TYPE_CHECKING:

        def acquire(self, *, timeout: Seconds | None = None) -> Term: ...

        async def acquire_async(self, *, timeout: Seconds | None = None) -> Term: ...

        def try_acquire(self) -> Term | None: ...

        async def try_acquire_async(self) -> Term | None: ...

        def __enter__(self) -> Term: ...

        async def __aenter__(self) -> Term: ...

    def _refuse(self) -> None:
        _host.refuse(f"waiting to lead {self.name!r}", "`await election.lead_async()`")

    def __repr__(self) -> str:
        return f"<Campaign for {self.name!r}>"


class Leaders:
    """Who leads, one after the other: the present leader first, then each change, of the
    value too, and None when nobody leads. The backend is asked every second, and when the
    leader's term has ended unless it was renewed. An outage raises Unavailable once; who
    iterates on after that is told who leads when the backend answers again."""

    def __init__(self, leaders: _leasehold.Leaders) -> None:
        self._leaders = leaders

    def __iter__(self) -> Leaders:
        return self

    def __next__(self) -> Leader | None:
        _host.refuse("waiting for another leader", "`async for`")
        return _leader(self._leaders.next().wait())

    def __aiter__(self) -> Leaders:
        return self

    async def __anext__(self) -> Leader | None:
        return _leader(await self._leaders.next())


class Election:
    """An election: who holds the lock of this name leads, and shows a value. Making one does
    no I/O. It can be used again, and by many threads and tasks at once."""

    def __init__(self, name: str, election: _leasehold.Election) -> None:
        self.name = name
        self._election = election

    def campaign(self) -> Campaign:
        """A block in which this one leads: ``with election.campaign() as term:``, which
        waits for that, and resigns at its end; also ``async with``."""
        return Campaign(self._election.campaign())

    def lead(self, body: Callable[[Term], _Result]) -> _Result:
        """Campaign, call ``body(term)`` while leading, and campaign again after a loss; when it
        returns under its term, resign and answer the result.

        A thread cannot be interrupted: the body calls ``term.check()`` before each step that
        must not be done twice, which raises LeaseLost when the term is over; that, or to
        return, ends it. What else it raises ends the lead. Raises what ``acquire`` of a lock
        raises when a campaign fails, so Unavailable when the backend is away for ``wait``, or
        10 s."""
        while True:
            term = None
            try:
                with self.campaign() as term:
                    return _work.done(body(term), "use `await election.lead_async(body)`")
            except LeaseLost:
                # That of another lock is the body's own affair.
                if term is None or not term.lost.is_set():
                    raise

    async def lead_async(self, body: Callable[[Term], Awaitable[_Result]]) -> _Result:
        """:meth:`lead` for asyncio and trio: ``await body(term)`` is cancelled when the term is
        lost, and has ended before the next campaign begins."""
        while True:
            term = None
            try:
                async with self.campaign() as term:
                    return await _work.done_async(body(term))  # type: ignore[no-any-return]
            except LeaseLost:
                if term is None or not term.lost.is_set():
                    raise

    def leader(self) -> Leader | None:
        """Who leads now; None when nobody does. Raises Refused when the lock of this name is
        shared or has permits."""
        return _leader(self._election.leader().wait())

    async def leader_async(self) -> Leader | None:
        """:meth:`leader` for asyncio and trio."""
        return _leader(await self._election.leader())

    def observe(self) -> Leaders:
        """Who leads from now on: iterate over it, in a thread of its own or with ``async for``.
        It costs the leader nothing."""
        return Leaders(self._election.observe())

    def __repr__(self) -> str:
        return f"<Election {self.name!r}>"


def _leader(row: tuple[str, int, str, float, float] | None) -> Leader | None:
    return None if row is None else Leader(*row)
