"""The exceptions. They are made by the native part, can be pickled, and have a
stable ``code``."""

from __future__ import annotations

import sys
from typing import Any, ClassVar


class LeaseholdError(Exception):
    """Any failure of this package.

    ``outcome`` is what the caller holds now: ``"not_held"``, ``"held"``, or
    ``"unknown"`` when the request may have been carried out. ``lock`` is the name
    of the lock that it is about, if there is one.
    """

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, outcome: str = "not_held", lock: str | None = None) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.lock = lock

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.outcome, self.lock)


class LockTimeout(LeaseholdError, TimeoutError):
    """The lock was busy for as long as the caller was ready to wait."""

    code = "timeout"


class LeaseLost(LeaseholdError):
    """The lease was held and is not any more."""

    code = "lost"


class NotHeld(LeaseholdError):
    """The lease was released before."""

    code = "not_held"


class Unavailable(LeaseholdError, ConnectionError):
    """The backend could not be reached, or did not answer in time."""

    code = "unavailable"


class Refused(LeaseholdError):
    """The backend's state or settings make it unsafe to go on."""

    code = "refused"


class InvalidInput(LeaseholdError, ValueError):
    """The input cannot be used."""

    code = "invalid"


class Unsupported(LeaseholdError):
    """The backend or platform cannot do this."""

    code = "unsupported"


class ClientClosed(LeaseholdError):
    """The client was closed, or what was used belongs to the process that this
    one was forked from."""

    code = "closed"


class Cancelled(LeaseholdError):
    """The caller gave up."""

    code = "cancelled"


class InternalError(LeaseholdError):
    """A bug in Leasehold or in a backend."""

    code = "internal"


_CLASSES: dict[str, type[LeaseholdError]] = {
    known.code: known for known in LeaseholdError.__subclasses__()
}


def make(code: str, message: str, outcome: str, lock: str | None) -> LeaseholdError:
    """Called by the native part."""
    return _CLASSES.get(code, InternalError)(message, outcome, lock)


def note(error: BaseException, failed: LeaseholdError) -> None:
    """What a block raised says more than a failure of its release; but that it was not
    under the lock to its end belongs to it."""
    if failed.code != "lost":
        return
    text = f"{failed}; what was done in the block was perhaps done beside another holder"
    if sys.version_info >= (3, 11):
        error.add_note(text)
    else:
        # What shows tracebacks knows it there, too.
        error.__notes__ = [*getattr(error, "__notes__", ()), text]  # type: ignore[attr-defined]
