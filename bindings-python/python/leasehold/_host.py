"""Who waits: a thread, or a task of a scheduler that shares its thread with others.

A thread waits in native code. A task polls its call, and parks itself with an event of
its own scheduler, which watches a socket to learn that the event is to be set. asyncio,
trio, gevent and eventlet all have both, so this is the whole of what tells them apart.
Only what is imported already is looked for: who runs a scheduler has it.
"""

from __future__ import annotations

import sys
import time
from _thread import get_ident
from collections.abc import Callable
from functools import partial
from importlib import import_module
from inspect import CO_ASYNC_GENERATOR, CO_GENERATOR, CO_ITERABLE_COROUTINE
from typing import Any

from . import _leasehold
from ._errors import InvalidInput
from ._guard import Guard, TaskGuard, TrioGuard

_WORD = (1 << 64) - 1
_GENERATORS = CO_GENERATOR | CO_ASYNC_GENERATOR | CO_ITERABLE_COROUTINE

_KNOWN = "asyncio, trio, gevent and eventlet"


def refuse(what: str, cure: str) -> None:
    """Where others run in this thread and only a coroutine can wait for them."""
    name = _loop()
    if name is not None:
        raise InvalidInput(
            f"{what} would block {name}, which runs in this thread; use `async with` or {cure}"
        )
    for hub, name in _hubs():
        if _is_own_greenlet(hub):
            raise InvalidInput(
                f"{what} would block the hub of {name}, which runs this callback; "
                "wait in a greenlet that it spawns"
            )


def hub() -> _Greenlets | None:
    """What a greenlet waits with. In a thread that has no hub, and in the hub itself,
    there are no others to wait beside."""
    for hub, name in _hubs():
        if not _is_own_greenlet(hub) and (_running_loop() is None or _is_on_asyncio(hub)):
            found: _Greenlets = _host(hub, _Gevent if name == "gevent" else _Eventlet)
            return found
    return None


async def wait_async(call: _leasehold.Call[Any]) -> Any:
    """Wait in a coroutine."""
    return await scheduler().wait(call)


def scheduler() -> _Coroutines:
    """That of the coroutine that runs."""
    trio = _trio()
    if trio is not None:
        return _Trio.of_this_run(trio)
    loop = _running_loop()
    if loop is None:
        name = _sniffed() or "what runs this coroutine"
        raise InvalidInput(
            f"leasehold does not know how to wait in {name}; it does in {_KNOWN}, and in a thread"
        )
    found: _Coroutines = _host(loop, _Asyncio)
    return found


def task() -> int:
    """A number of who runs here, which nobody else has while it does: of a task, a greenlet or
    a thread. Zero where that is not known."""
    here: tuple[int, ...] = (get_ident(),)
    greenlet = getattr(sys.modules.get("greenlet"), "getcurrent", None)
    if greenlet is not None:
        here += (id(greenlet()),)
    if _running_loop() is not None:
        task = sys.modules["asyncio"].current_task()
        if task is None and not _hubs():
            return 0
        here += (id(task),)
    trio = _trio()
    if trio is not None:
        here += (id(trio.lowlevel.current_task()),)
    return hash(here) & _WORD or 1


def block(depth: int) -> tuple[int, bool]:
    """The same, and whether it is inside of the block that begins in the frame so far up until
    that ends. A generator is left before, and its other half may run in another thread or task,
    as web frameworks and test fixtures do it."""
    return task(), not sys._getframe(depth).f_code.co_flags & _GENERATORS


class _Host:
    """A scheduler, as far as waiting needs it."""

    def __init__(self) -> None:
        self.reactor = _leasehold.Reactor()

    event: Callable[[], Any]


class _Coroutines(_Host):
    guard: type[Guard]
    step: Callable[[], Any]
    """Let others run, and hear a cancellation."""

    async def wait(self, call: _leasehold.Call[Any]) -> Any:
        waiting = call.begin(self.reactor)
        try:
            if waiting.poll():
                # Else a loop over free locks blocks all other tasks, and an answer that is
                # there at once hides an earlier cancellation.
                await self.step()
                return waiting.answer()
            is_ready = False
            while not is_ready:
                event = self.event()
                waiting.park(event.set)
                await event.wait()
                is_ready = waiting.poll()
            return waiting.answer()
        finally:
            waiting.close()


class _Asyncio(_Coroutines):
    guard = TaskGuard

    def __init__(self, loop: Any) -> None:
        super().__init__()
        import asyncio

        self.event = _Turn
        self.step = partial(asyncio.sleep, 0)
        # uvloop would tell of an answer before it delivers an earlier cancellation.
        is_eager = not isinstance(loop, asyncio.SelectorEventLoop)
        loop.add_reader(self.reactor.fileno(), self._soon if is_eager else self.reactor.ready)

    def _soon(self) -> None:
        _running_loop().call_soon(self.reactor.ready)


class _Turn:
    """An event that one task of asyncio waits for, once: less than half of what theirs costs."""

    def __init__(self) -> None:
        # Nothing here keeps the loop: one that is closed is garbage at once, with its descriptors.
        self._future = _running_loop().create_future()

    def set(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    def wait(self) -> Any:
        return self._future


class _Trio(_Coroutines):
    guard = TrioGuard
    _run_variable: Any = None

    def __init__(self, trio: Any) -> None:
        super().__init__()
        self.event = trio.Event
        self.step = trio.lowlevel.checkpoint
        self._readable = trio.lowlevel.wait_readable
        trio.lowlevel.spawn_system_task(self._watch, name="leasehold")

    @classmethod
    def of_this_run(cls, trio: Any) -> _Trio:
        if cls._run_variable is None:
            cls._run_variable = trio.lowlevel.RunVar("leasehold", None)
        known: _Trio | None = cls._run_variable.get()
        if known is None or known.reactor.is_foreign():
            known = cls(trio)
            cls._run_variable.set(known)
        return known

    async def _watch(self) -> None:
        while True:
            await self._readable(self.reactor.fileno())
            self.reactor.ready()


class _Greenlets(_Host):
    """It watches only while somebody waits: a hub whose greenlets are all done ends."""

    def __init__(self) -> None:
        super().__init__()
        self._sleepers: set[Any] = set()

    def wait(self, call: _leasehold.Call[Any], timeout: float | None) -> Any:
        end = None if timeout is None else time.monotonic() + timeout
        waiting = call.begin(self.reactor)
        try:
            while not waiting.poll():
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._sleep_until(waiting.park, left)
            return waiting.answer()
        finally:
            waiting.close()

    def _sleep_until(self, park: Callable[[Callable[[], Any]], None], left: float | None) -> None:
        event = self.event()
        park(self.setter(event))
        try:
            self._sleepers.add(event)
            if len(self._sleepers) == 1:
                self.watch()
            event.wait(left)
        finally:
            self._sleepers.discard(event)
            if not self._sleepers:
                self.unwatch()

    def ready(self, *_: object) -> None:
        if self.reactor.is_foreign():
            # The parent reads it; who waited there does not wait here.
            self.leave_to_parent()
        else:
            self.reactor.ready()

    def leave_to_parent(self) -> None:
        """In a fork."""

    def setter(self, event: Any) -> Callable[[], Any]:
        raise NotImplementedError

    def watch(self) -> None:
        raise NotImplementedError

    def unwatch(self) -> None:
        raise NotImplementedError


class _Gevent(_Greenlets):
    def __init__(self, hub: Any) -> None:
        super().__init__()
        self.event = import_module("gevent.event").Event
        self._watcher = hub.loop.io(self.reactor.fileno(), 1)

    def setter(self, event: Any) -> Callable[[], Any]:
        return event.set  # type: ignore[no-any-return]

    def watch(self) -> None:
        self._watcher.start(self.ready)

    def unwatch(self) -> None:
        self._watcher.stop()

    leave_to_parent = unwatch


class _Eventlet(_Greenlets):
    """A fork shares its parent's epoll, and must not take out of it what is the parent's."""

    def __init__(self, hub: Any) -> None:
        super().__init__()
        self.event = import_module("eventlet.event").Event
        self._hub = hub
        self._listener: Any = None

    def setter(self, event: Any) -> Callable[[], Any]:
        return lambda: event.ready() or event.send()

    def watch(self) -> None:
        self._listener = self._hub.add("read", self.reactor.fileno(), self.ready, self.ready, None)

    def unwatch(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            self._hub.remove(listener)


def _host(scheduler: Any, kind: Callable[[Any], Any]) -> Any:
    """Of a loop or a hub, which keeps it; a fork needs one of its own."""
    known = scheduler.__dict__.get("_leasehold")
    if known is None or known.reactor.is_foreign():
        known = scheduler._leasehold = kind(scheduler)
    return known


def _loop() -> str | None:
    """The scheduler of coroutines that runs in this thread."""
    if _is_in_trio():
        return "trio"
    for hub, _ in _hubs():
        if _is_on_asyncio(hub):
            return None
    return "the event loop" if _running_loop() is not None else _sniffed()


def _running_loop() -> Any:
    # Importing it takes longer than all of this package.
    asyncio = sys.modules.get("asyncio")
    find = getattr(asyncio, "_get_running_loop", None)
    return None if find is None else find()


def _trio() -> Any:
    """The module, if a task of it runs."""
    trio: Any = sys.modules.get("trio")
    lowlevel = getattr(trio, "lowlevel", None)
    return trio if lowlevel is not None and lowlevel.in_trio_task() else None


def _is_in_trio() -> bool:
    lowlevel = getattr(sys.modules.get("trio"), "lowlevel", None)
    return lowlevel is not None and lowlevel.in_trio_run()


def _sniffed() -> str | None:
    """What says of itself that it runs, and is none of those that are asked directly."""
    sniffio: Any = sys.modules.get("sniffio")
    if sniffio is None or not hasattr(sniffio, "current_async_library"):
        return None
    try:
        name = str(sniffio.current_async_library())
        return None if name in ("asyncio", "trio") else name
    except sniffio.AsyncLibraryNotFoundError:
        return None


def _hubs() -> list[tuple[Any, str]]:
    """The hub of this thread, if it has one."""
    gevent = getattr(sys.modules.get("gevent._hub_local"), "get_hub_if_exists", None)
    hub = None if gevent is None else gevent()
    if hub is not None:
        return [(hub, "gevent")]
    eventlet = getattr(sys.modules.get("eventlet.hubs"), "_threadlocal", None)
    hub = getattr(eventlet, "hub", None)
    return [] if hub is None else [(hub, "eventlet")]


def _getcurrent() -> Any:
    return sys.modules["greenlet"].getcurrent()


def _is_own_greenlet(hub: Any) -> bool:
    # With gevent the hub is its greenlet.
    return getattr(hub, "greenlet", hub) is _getcurrent()


def _is_on_asyncio(hub: Any) -> bool:
    """Whether the loop that runs in this thread is the hub's own."""
    loop = _running_loop()
    return loop is not None and getattr(hub, "loop", None) is loop
