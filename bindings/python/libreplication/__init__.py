"""One writer streams its write-ahead log to many readers.

The writer's process creates a `Sender` and hands it every log entry. Each reader's process creates a `Receiver`, which
connects, stays connected and passes every entry, in order, to a handler:

    with Sender() as sender:
        port = sender.listen("127.0.0.1:7000")
        sequence = sender.replicate(b"insert")

    def apply(entry: Entry) -> None:
        print(entry.sequence, entry.data)

    with Receiver("reader-1", "127.0.0.1:7000", apply) as receiver:
        receiver.wait_sequence(sequence, timeout=5)

The package is pure Python and calls the shared library with ctypes. `AsyncReceiver` and `AsyncSender` are for asyncio.
`libreplication.codec` reads and writes single messages of protocol v1. ``docs/python.md`` is the guide.
"""

from __future__ import annotations

from . import codec, errors
from ._native import library
from ._raw import VERSION
from .aio import AsyncReceiver, AsyncSender
from .constants import (
    AckLevel,
    ApplyPolicy,
    EventKind,
    FullPolicy,
    GapPolicy,
    GatePolicy,
    LogLevel,
    Protocol,
    Right,
    SyncPolicy,
    TokenOrder,
    ValueType,
)
from .entry import Batch, Entry
from .errors import LibraryError, ReplicationError, Status
from .event import Event
from .quorum import Quorum
from .receiver import Receiver
from .records import decode_records, record_value, records_json
from .secret import Secret
from .sender import Sender
from .tokens import compare_tokens, parse_token, token_text
from .values import AccessRequest, Acked, ExtType, ReceiverTls, Record, Records, SenderTls, WalSync, WriteGate

__version__ = VERSION


def library_version() -> str:
    """Returns the version of the shared library, and loads the library if necessary."""
    version: bytes = library().replication_version()
    return version.decode()


__all__ = [
    "AccessRequest",
    "Acked",
    "AckLevel",
    "ApplyPolicy",
    "AsyncReceiver",
    "AsyncSender",
    "Batch",
    "Entry",
    "Event",
    "EventKind",
    "ExtType",
    "FullPolicy",
    "GapPolicy",
    "GatePolicy",
    "LibraryError",
    "LogLevel",
    "WalSync",
    "Protocol",
    "Quorum",
    "Receiver",
    "ReceiverTls",
    "Record",
    "Records",
    "ReplicationError",
    "Right",
    "Secret",
    "Sender",
    "SenderTls",
    "Status",
    "SyncPolicy",
    "TokenOrder",
    "ValueType",
    "WriteGate",
    "codec",
    "compare_tokens",
    "decode_records",
    "errors",
    "library_version",
    "parse_token",
    "record_value",
    "records_json",
    "token_text",
]
