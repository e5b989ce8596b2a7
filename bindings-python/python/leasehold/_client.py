"""An open connection to one backend."""

from __future__ import annotations

import atexit
import builtins
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, cast

from . import _leasehold, _work
from ._election import Election
from ._errors import InvalidInput
from ._events import Events
from ._lease import Lease, Seconds
from ._lock import Lock
from ._locks import Locks
from ._once import Once
from ._status import Deadlock, Status

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Client(_leasehold.Client):
    """A client of the backend that the URL names: ``sqlite:PATH`` for the processes of
    one machine (``sqlite:`` is a file in the user's state directory, no server
    needed), ``redis://HOST``, ``redlock://HOST,HOST,HOST``, ``etcd://HOST,HOST,HOST``,
    or ``memory:`` inside this client only.

    It connects when it is first used, or by :meth:`connect`, and again in a process
    that was forked from this one. A URL that cannot be used raises InvalidInput at
    once. The options are for all its locks that do not set their own; see
    :meth:`lock`. All threads and event loops of the process can use it.
    """

    def connect(self) -> None:
        """Connect now, unless it is connected."""
        self._connect().wait()

    async def connect_async(self) -> None:
        """:meth:`connect` for asyncio and trio."""
        await self._connect()

    def lock(
        self,
        name: str,
        *,
        ttl: Seconds | None = None,
        delay: Seconds | None = None,
        wait: Seconds | None = None,
        max_hold: Seconds | None = None,
        min_hold: Seconds | None = None,
        auto_renew: bool = True,
        shared: bool = False,
        permits: int | None = None,
        label: str | None = None,
        on_lost: str = "cancel",
    ) -> Lock:
        """The lock of this name: 1 to 1024 bytes without NUL.

        ``ttl``: how long a lease outlives its last renewal, from 0.1 s to a day; 10 s
        unless set. It bounds how long others wait for a holder that vanished, not how
        long one can hold. ``delay``: how long the lock stays taken after the end of a lease
        that was not released, for resources that cannot check a fence. ``wait``: how long
        a busy lock is waited for; without end unless set. ``max_hold``: the longest a
        lease is held, however healthy. ``min_hold``: a lock that is released before stays
        taken until then, and is nobody's.
        ``shared``: any number of leases that share it are held at once, and no other one
        beside them. ``permits``: so many are held at once, from 1 to 1000, each with a
        ``slot`` of its own; all who use the name say the same number.
        ``label``: what others see of the holder. ``on_lost``: what ``async with`` does
        when the lease is lost: ``"cancel"`` the task, and raise LeaseLost; or ``"flag"``:
        nothing but set ``lease.lost``.
        """
        kind = (auto_renew, shared, permits)
        lock = Lock(self._lock([name], ttl, delay, wait, max_hold, min_hold, *kind, label, False))
        lock._cancels = _cancels(on_lost)
        return lock

    def locks(
        self,
        names: Iterable[str],
        *,
        ttl: Seconds | None = None,
        delay: Seconds | None = None,
        wait: Seconds | None = None,
        max_hold: Seconds | None = None,
        min_hold: Seconds | None = None,
        auto_renew: bool = True,
        shared: bool = False,
        permits: int | None = None,
        label: str | None = None,
        on_lost: str = "cancel",
    ) -> Locks:
        """The locks of these names, to be taken together, all or nothing: with the options
        of :meth:`lock`, of which ``wait`` is for all together. They are taken in the order
        of their names, so that groups never wait for each other in a circle. When one
        lease is lost all are."""
        if isinstance(names, str):
            raise InvalidInput(f"locks() takes several names, as in [{names!r}]; lock() takes one")
        every = builtins.list(names)
        kind = (auto_renew, shared, permits)
        locks = Locks(self._lock(every, ttl, delay, wait, max_hold, min_hold, *kind, label, True))
        locks._cancels = _cancels(on_lost)
        return locks

    def once(
        self,
        name: str,
        *,
        every: Seconds | None = None,
        slot: str | None = None,
        ttl: Seconds | None = None,
        delay: Seconds | None = None,
        max_hold: Seconds | None = None,
        label: str | None = None,
    ) -> Once:
        """Work that is done once per interval, or once for each slot, by whichever process
        comes first: a decorator, or to be ``run``.

        ``every``: the interval, up to 400 days. After the work has succeeded, the lock of
        this name rests for 95 % of it. ``slot``: once for each such text instead, as
        ``"2026-11-27"``; each is a lock of its own, ``NAME@SLOT``, which is remembered for
        ``every``, 7 days unless set. The other options are those of :meth:`lock`.
        """
        return Once(self._once(name, every, slot, ttl, delay, max_hold, label))

    def election(
        self,
        name: str,
        *,
        value: str | None = None,
        ttl: Seconds | None = None,
        delay: Seconds | None = None,
        wait: Seconds | None = None,
        max_hold: Seconds | None = None,
    ) -> Election:
        """The election of this name, which is led by who holds the lock of the same name.
        ``value``: what others see of the leader, such as its address, up to 256 bytes
        without control characters. ``wait``: how long a campaign lasts; ``max_hold``: the
        longest term. All else is as for :meth:`lock`."""
        return Election(name, self._election(name, value, ttl, delay, wait, max_hold))

    def locked(self, template: str, **options: Any) -> Callable[[_Function], _Function]:
        """Decorate a function, or a coroutine function, that holds the lock while it
        runs. The name is made from its arguments, as in ``"invoices/{invoice_id}"``;
        the options are those of :meth:`lock`. What returns before its work is done, such as a
        coroutine that nobody has awaited, or a future, raises InvalidInput."""
        import functools
        import inspect

        self.lock("check", **options)
        fields = set(_fields(template))

        def decorate(function: _Function) -> _Function:
            signature = inspect.signature(function)
            known = signature.parameters
            unknown = sorted(f"{{{field}}}" for field in fields if field not in known)
            if unknown:
                raise InvalidInput(
                    f"{template!r} needs {', '.join(unknown)}, which is no parameter of "
                    f"{_work.name_of(function)}{signature}"
                )
            _work.refuse_generator(function, "take the lock inside of it")

            def lock(arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Lock:
                bound = signature.bind(*arguments, **keywords)
                bound.apply_defaults()
                return self.lock(template.format_map(bound.arguments), **options)

            @functools.wraps(function)
            async def run_async(*arguments: Any, **keywords: Any) -> Any:
                async with lock(arguments, keywords):
                    return await _work.done_async(function(*arguments, **keywords))

            @functools.wraps(function)
            def run(*arguments: Any, **keywords: Any) -> Any:
                with lock(arguments, keywords):
                    return _work.done(function(*arguments, **keywords), "decorate an `async def`")

            return cast(_Function, run_async if _work.is_async(function) else run)

        return decorate

    def list(self) -> builtins.list[Status]:
        """The locks that are held or waited for, by name."""
        return [Status._of(row) for row in self._list().wait()]

    async def list_async(self) -> builtins.list[Status]:
        """:meth:`list` for asyncio and trio."""
        return [Status._of(row) for row in await self._list()]

    def status(self, name: str) -> Status | None:
        """Who holds and who waits for one lock; None when nobody does."""
        rows = self._status(name).wait()
        return Status._of(rows[0]) if rows else None

    async def status_async(self, name: str) -> Status | None:
        """:meth:`status` for asyncio and trio."""
        rows = await self._status(name)
        return Status._of(rows[0]) if rows else None

    def deadlocks(self) -> builtins.list[Deadlock]:
        """The circles in which processes wait for each other's locks, from one look at all of
        them. Not all is seen: of another client only the first that waits for each lock, and
        only what waits for a lock of another client."""
        return [Deadlock._of(waits) for waits in self._deadlocks().wait()]

    async def deadlocks_async(self) -> builtins.list[Deadlock]:
        """:meth:`deadlocks` for asyncio and trio."""
        return [Deadlock._of(waits) for waits in await self._deadlocks()]

    def break_lock(self, name: str) -> bool:
        """Take the lock from whoever holds it; answers whether somebody did. Until
        that one's work has stopped, two may be at work, and only their fences tell
        them apart."""
        return self._break_lock(name).wait()

    async def break_lock_async(self, name: str) -> bool:
        """:meth:`break_lock` for asyncio and trio."""
        return await self._break_lock(name)

    def adopt(self, ticket: str, *, name: str | None = None) -> Lease:
        """Go on with a lease that another process has handed on by
        :meth:`Lease.into_ticket`: with its fence, ttl and other options. It never takes the
        lock anew. ``name``: the lock that it has to be of, if that is to be checked.

        Raises InvalidInput for a text that is no ticket, Refused for a ticket of another
        lock or kind of backend, which stays good, and LeaseLost for one that was used, or
        whose time is over."""
        return self._adopt(ticket, name).wait()

    async def adopt_async(self, ticket: str, *, name: str | None = None) -> Lease:
        """:meth:`adopt` for asyncio and trio. Cancelled midway, nothing is held: the ticket is
        as good as before, or used up and its lease given back."""
        return await self._adopt(ticket, name)

    def events(self) -> Events:
        """What happens to this client's leases from now on, for logs: iterate over it, in
        a thread of its own or with ``async for``, until the client is closed. The
        interpreter waits for such a thread when it ends, unless it is a daemon. In a fork,
        what happens to those of the child."""
        return Events(self._events())

    def close(self) -> None:
        """Give back everything and end. Waiting calls raise ClientClosed, leases are
        lost. It waits until the backend has confirmed that, or every lease has expired:
        where a server hangs, as long as the longest ttl. Done at the end of the
        interpreter, too, for a second at most."""
        self._close().wait()

    async def close_async(self) -> None:
        """:meth:`close` for asyncio and trio."""
        await self._close()

    def __enter__(self) -> Client:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Client:
        await self.connect_async()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close_async()

    def __repr__(self) -> str:
        return f"<Client of {self.backend}>"


def _cancels(on_lost: str) -> bool:
    if on_lost not in ("cancel", "flag"):
        raise InvalidInput(f'on_lost is "cancel" or "flag", not {on_lost!r}')
    return on_lost == "cancel"


def _fields(template: str) -> Iterator[str]:
    import string

    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise InvalidInput(f"{template!r} is no template: {error}") from None
    for _, field, form, _ in parts:
        if field is not None:
            yield field.replace("[", ".").split(".")[0]
            yield from _fields(form or "")


connect = Client

atexit.register(_leasehold.finish)
