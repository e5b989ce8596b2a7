"""Work that is done once per interval."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from . import _host, _leasehold, _work
from ._block import AsyncBlock
from ._lease import Lease


class Ran(NamedTuple):
    """The work was done."""

    value: Any
    """What it returned."""


class Skipped(NamedTuple):
    """It was not."""

    why: str
    """``"running"``: somebody is at it; ``"rested"``: it was done."""
    next_in: float
    """When to try again, in seconds: when the rest ends; while another works, when its lease
    ends unless it is renewed."""


class Once(_leasehold.Once):
    """Work that is done once per interval, or once for each slot, whoever tries how often.

    It has succeeded unless it raises: then its exception goes on, and the lock is free at
    once, as it is after the loss of the lease, which raises LeaseLost. A backend that does not
    answer is an error, Unavailable, and never a skip.
    """

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Ran | Skipped:
        """Call the function, unless another is at it or it was done."""
        _host.refuse(f"running {self.name!r} once", "`await once.run_async(function)`")
        # What is entered owns the lease, and no name here does: a traceback keeps those.
        with self._begin().wait() as begun:
            if not isinstance(begun, Lease):
                return Skipped(*begun)
            value = function(*args, **kwargs)
            value = _work.done(value, "use `await once.run_async(function)`")
            begun._succeed()
        return Ran(value)

    async def run_async(
        self, function: Callable[..., Awaitable[Any] | Any], *args: Any, **kwargs: Any
    ) -> Ran | Skipped:
        """:meth:`run` of a coroutine function, for asyncio and trio. When the lease is lost,
        the task is cancelled, and LeaseLost raised."""
        begun = (await self._begin()).take()
        if not isinstance(begun, Lease):
            return Skipped(*begun)
        async with _Block(begun):
            value = await _work.done_async(function(*args, **kwargs))
            begun._succeed()
        return Ran(value)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate a function, or a coroutine function: it then answers :class:`Ran` or
        :class:`Skipped`."""
        _work.refuse_generator(function, "run what iterates over it")

        @functools.wraps(function)
        async def run_async(*args: Any, **kwargs: Any) -> Ran | Skipped:
            return await self.run_async(function, *args, **kwargs)

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Ran | Skipped:
            return self.run(function, *args, **kwargs)

        return run_async if _work.is_async(function) else run

    def __repr__(self) -> str:
        return f"<Once {self.name!r}>"


class _Block:
    """``async with`` for a lease that is held already."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._block = AsyncBlock(None)
        self._block.hold(lease, cancels=True)

    async def __aenter__(self) -> None:
        self._lease._keep_for(_host.task())

    async def __aexit__(self, *raised: Any) -> None:
        await self._block(*raised)
