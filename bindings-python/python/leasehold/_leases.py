"""What is held together."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from ._lease import Lease


class Leases(Lease):
    """Several locks that are held together: a fence for each name, and one end.

    When one is lost all are; ``lost.name`` tells which was the first. They are given back
    together. Otherwise it is as a :class:`Lease`.
    """

    @property
    def names(self) -> list[str]:
        """The names, in the order in which they were taken."""
        return self._names

    @property
    def fences(self) -> dict[str, int]:
        """The fencing token of each name."""
        return self._fences

    @property
    def keys(self) -> dict[str, str]:
        """With etcd, if held alone: the key of each name, whose create_revision is its fence."""
        return self._keys

    @property
    def slots(self) -> dict[str, int]:
        """With permits: the slot of each name."""
        return self._slots

    if not TYPE_CHECKING:

        @property
        def fence(self) -> NoReturn:
            raise AttributeError("several locks have several fences: leases.fences['name']")

        @property
        def key(self) -> NoReturn:
            raise AttributeError("several locks have several keys: leases.keys['name']")

        @property
        def slot(self) -> NoReturn:
            raise AttributeError("several locks have several slots: leases.slots['name']")

    def __repr__(self) -> str:
        state = f"{self.remaining:.3f} s left" if self.is_valid else (self.lost.reason or "over")
        return f"<Leases {self.fences!r}, {state}>"
