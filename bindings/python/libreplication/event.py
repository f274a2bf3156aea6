"""Events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Union

from .constants import EventKind
from .errors import Status


@dataclass(frozen=True)
class Event:
    """Something that happened at a sender or a receiver."""

    kind: Union[EventKind, int]
    """What; a plain number when the library is newer than this package. Ignore kinds that you do not know."""
    status: Union[Status, int]
    """Why; `Status.OK` when nothing failed."""
    sequence: int
    """The entry concerned; 0 when there is none."""
    reader_id: str
    """The reader concerned; "" when unknown."""
    address: str
    """The peer's address; "" when unknown."""
    message: str
    """A sentence for people."""
    detail: Dict[str, Any] = field(default_factory=dict)
    """More for programs."""
    traceback: Optional[str] = None
    """Of `APPLY_FAILED`, `ENTRY_SKIPPED` and `STOPPED`: the traceback of the exception that the handler raised."""
