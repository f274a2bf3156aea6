"""Events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, Optional, Union

from .constants import EventKind
from .errors import Status


@dataclass(frozen=True)
class Event:
    """An event of a sender or receiver."""

    kind: Union[EventKind, int]
    """The kind of the event; a plain number if the library is newer than this package. Ignore unknown kinds."""
    status: Union[Status, int]
    """The reason; `Status.OK` if nothing failed."""
    sequence: int
    """The entry concerned; 0 if none."""
    reader_id: str
    """The reader concerned; "" if unknown."""
    address: str
    """The peer's address; "" if unknown."""
    message: str
    """A sentence for people."""
    detail: Dict[str, Any] = field(default_factory=dict)
    """Details for programs."""
    traceback: Optional[str] = None
    """For `APPLY_FAILED`, `ENTRY_SKIPPED` and `STOPPED`: the traceback of the exception that the handler raised."""
    identity: str = ""
    """Who the peer is, as far as the connection proves it: words such as ``dns:reader-1.db``, ``sha256:FINGERPRINT`` or
    ``uid:1000``, or ``none``; "" if no connection is concerned."""
