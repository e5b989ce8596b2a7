"""Functions that are called under a lock: whether they have done their work when they return."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from ._errors import InvalidInput

_Value = TypeVar("_Value")


def done(value: _Value, cure: str) -> _Value:
    """What a function has returned, unless its work is yet to be done: the lock must not be
    given back then. ``cure`` is for what is to be awaited."""
    wrong = _wrong(value, cure)
    if wrong is None:
        return value
    if inspect.iscoroutine(value):
        value.close()
    raise InvalidInput(f"the function returned a {type(value).__name__}, {wrong}")


async def done_async(value: Any) -> Any:
    """The same of one that may have returned what is to be awaited."""
    if inspect.isawaitable(value):
        value = await value
    return done(value, "await it in the function")


def is_async(function: Callable[..., Any]) -> bool:
    """Whether what it returns is to be awaited, as far as can be known before it is called."""
    return any(map(inspect.iscoroutinefunction, _forms(function)))


def refuse_generator(function: Callable[..., Any], cure: str) -> None:
    """Whether it does nothing when it is called is known before that."""
    for form in _forms(function):
        if inspect.isgeneratorfunction(form) or inspect.isasyncgenfunction(form):
            raise InvalidInput(
                f"{name_of(function)} is a generator, which runs after it was called and has "
                f"returned; {cure}"
            )


def name_of(function: Callable[..., Any]) -> str:
    """As messages name it. A ``partial``, or an object with ``__call__``, has no name."""
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__name__", None) or repr(function)


def _forms(function: Callable[..., Any]) -> list[Callable[..., Any]]:
    """Itself, and what runs when an object is called that is no function."""
    while isinstance(function, partial):
        function = function.func
    return [function, type(function).__call__]


def _wrong(value: object, cure: str) -> str | None:
    if inspect.iscoroutine(value):
        return f"which has not run yet; {cure}"
    if inspect.isgenerator(value) or inspect.isasyncgen(value) or isinstance(value, map | filter):
        return "which has not run yet; iterate over it in the function"
    if inspect.isawaitable(value):
        return f"which may not be done yet; {cure}"
    # Who has one has imported it.
    futures: Any = sys.modules.get("concurrent.futures")
    if futures is not None and isinstance(value, futures.Future):
        return "which may not be done yet; return its result()"
    return None
