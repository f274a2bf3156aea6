"""Quorums: a number of readers from each of several groups."""

from __future__ import annotations

from typing import Mapping, Optional

from . import _arguments
from ._handle import check, last_error
from ._native import library
from .errors import Status


class Quorum:
    """Which readers must have acknowledged an entry. All conditions must be met; one reader may count for several.

    ``Quorum({"east": 1, "west": 1})`` requires one reader of each group; `None` as a group means any readers. A quorum
    belongs to no sender and may be used any number of times.
    """

    def __init__(self, conditions: Optional[Mapping[Optional[str], int]] = None) -> None:
        self._pointer: Optional[int] = None
        self._library = library()
        self._pointer = self._library.replication_quorum_new()
        if not self._pointer:
            raise last_error(Status.OUT_OF_MEMORY)
        for group, readers in (conditions or {}).items():
            self.add(group, readers)

    @classmethod
    def any(cls, readers: int) -> Quorum:
        """Returns a quorum of a number of readers, at least 1, of whatever groups."""
        count = _arguments.count("readers", readers)
        quorum = cls.__new__(cls)
        quorum._library = library()
        quorum._pointer = quorum._library.replication_quorum_any(count)
        if not quorum._pointer:
            raise last_error(Status.INVALID_ARGUMENT if count == 0 else Status.OUT_OF_MEMORY)
        return quorum

    def add(self, group: Optional[str], readers: int) -> None:
        """Adds a condition: a number of readers from a group, or of any readers if the group is None."""
        name = None if group is None else _arguments.text("group", group)
        check(self._library.replication_quorum_add(self._pointer, name, _arguments.count("readers", readers)))

    def __del__(self) -> None:
        pointer, self._pointer = getattr(self, "_pointer", None), None
        if pointer:
            self._library.replication_quorum_free(pointer)

    def __reduce__(self) -> str:
        raise TypeError("a Quorum cannot be pickled: make it in the process that uses it")
