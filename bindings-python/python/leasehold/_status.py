"""What is seen of locks: who holds them, who waits, and who waits in a circle."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from . import _leasehold


class Holder(NamedTuple):
    """Who holds a lock."""

    label: str
    """Host, process id and the free text of the holder."""
    held_for: float
    """For how long, in seconds; where it is resting, since it was given back."""
    free_in: float
    """When the lease ends unless it is renewed, in seconds."""
    mode: str
    """``"exclusive"``, ``"shared"``, or ``"counted"`` where there are permits."""
    slot: int | None
    """Which of the permits it has."""
    fence: int
    """Its fencing token: each permit has its own, those who share have the same. 0 for a client
    of another library, which has none."""
    resting: bool
    """Whether it was given back and its lock rests, as by ``min_hold`` or after ``once``."""


class Status(NamedTuple):
    """A lock that is held or waited for."""

    name: str
    fence: int
    """That of the last grant."""
    holders: list[Holder]
    """One, or all who share the lock."""
    waiters: list[str]
    """The labels of those who wait, first come first: of each client the first, and then
    the others of this one."""

    @property
    def holder(self) -> Holder | None:
        """Who holds it; of several the first."""
        return self.holders[0] if self.holders else None

    @classmethod
    def _of(cls, row: _leasehold._Row) -> Status:
        name, fence, holders, waiters = row
        return cls(name, fence, [Holder(*holder) for holder in holders], waiters)


class Wait(NamedTuple):
    """One waits for a lock that another holds."""

    lock: str
    """The name of the lock."""
    waiter: str
    """The label of who waits."""
    holder: str
    """The label of who holds it, or of one of those who share it."""


class Deadlock(NamedTuple):
    """Processes of which each waits for a lock that another one of them holds. It is a deadlock
    if each of them does one thing at a time; a process with several tasks may go on."""

    waits: list[Wait]
    """Each wait in it, by the name of the lock."""

    @classmethod
    def _of(cls, waits: list[tuple[str, str, str]]) -> Deadlock:
        return cls([Wait(*wait) for wait in waits])
