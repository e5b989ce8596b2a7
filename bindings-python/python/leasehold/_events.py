"""What happens to the leases of a client."""

from __future__ import annotations

from typing import NamedTuple

from . import _host, _leasehold


class Event(NamedTuple):
    """Something that happened to a lease. As a text it is a line for a log."""

    lock: str
    """The name of its lock."""
    fence: int
    """Its fencing token."""
    what: str
    """``"acquired"``, ``"released"``, ``"lost"``, ``"handed_on"`` by a ticket, ``"adopted"``,
    or ``"renewal_failed"``: the first after one that did not fail; it is repeated until
    the lease is lost."""
    reason: str | None
    """Why it was lost, or the code of the error of the renewal, or of a release that
    was not confirmed."""
    text: str

    def __str__(self) -> str:
        return self.text


class Events:
    """The events of a client, in their order, until it is closed. Each goes to one of
    those who iterate; who is more than 1024 behind misses the oldest."""

    def __init__(self, events: _leasehold.Events) -> None:
        self._events = events

    def __iter__(self) -> Events:
        return self

    def __next__(self) -> Event:
        _host.refuse("waiting for events", "`async for`")
        event = self._events.next().wait()
        if event is None:
            raise StopIteration
        return Event(*event)

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Event:
        event = await self._events.next()
        if event is None:
            raise StopAsyncIteration
        return Event(*event)
