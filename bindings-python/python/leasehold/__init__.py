"""Lease locks with fencing tokens, for programs that must agree that only one of
them does a thing.

>>> import leasehold
>>> client = leasehold.connect("memory:")
>>> with client.lock("invoices/42", ttl=10) as lease:
...     lease.fence > 0  # send it along with every operation on the invoice
True
>>> client.close()

The same lock works with ``async with`` in asyncio. Times are in seconds, or
``datetime.timedelta``. All errors are :class:`LeaseholdError`.
"""

from ._client import Client, connect
from ._election import Campaign, Election, Leader, Leaders, Term
from ._errors import (
    Cancelled,
    ClientClosed,
    InternalError,
    InvalidInput,
    LeaseholdError,
    LeaseLost,
    LockTimeout,
    NotHeld,
    Refused,
    Unavailable,
    Unsupported,
)
from ._events import Event, Events
from ._leasehold import __version__
from ._lease import Lease, Lost
from ._leases import Leases
from ._lock import Lock
from ._locks import Locks
from ._once import Once, Ran, Skipped
from ._status import Deadlock, Holder, Status, Wait

__all__ = [
    "Campaign",
    "Cancelled",
    "Client",
    "ClientClosed",
    "Deadlock",
    "Election",
    "Event",
    "Events",
    "Holder",
    "InternalError",
    "InvalidInput",
    "Leader",
    "Leaders",
    "Lease",
    "LeaseLost",
    "LeaseholdError",
    "Leases",
    "Lock",
    "LockTimeout",
    "Locks",
    "Lost",
    "NotHeld",
    "Once",
    "Ran",
    "Refused",
    "Skipped",
    "Status",
    "Term",
    "Unavailable",
    "Unsupported",
    "Wait",
    "__version__",
    "connect",
]
