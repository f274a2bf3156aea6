"""What can go wrong: the statuses of the library, and an exception class for each."""

from __future__ import annotations

import enum
from typing import Any, ClassVar, Dict, Optional, Type, Union


class Status(enum.IntEnum):
    """The result of a call, or why something happened. The numbers are the library's and never change."""

    OK = 0
    INVALID_ARGUMENT = 1
    INVALID_STATE = 2
    CLOSED = 3
    WRONG_THREAD = 4
    FORKED = 5
    PANIC = 6
    TIMEOUT = 7
    IO = 8
    BAD_ADDRESS = 9
    ADDRESS_IN_USE = 10
    BAD_DESCRIPTOR = 11
    NOT_FOUND = 12
    WRONG_TYPE = 13
    BUFFER_TOO_SMALL = 14
    TRUNCATED = 15
    MESSAGE_TOO_SMALL = 16
    MESSAGE_TOO_LARGE = 17
    OUT_OF_MEMORY = 18
    DECODE_FAILED = 19
    DAMAGED = 20
    LOCKED = 21
    DISK_FULL = 22
    GATED = 23
    STALLED = 24
    SEQUENCE_GAP = 100
    WAL_ROTATED = 101
    INVALID_MSG = 102
    NOT_WRITER = 103
    BUFFER_FULL = 104
    WRITE_FAILED = 105
    APPLY_FAILED = 106
    DIVERGED = 120
    REGRESSED = 121
    REPLACED = 122
    PEER_TIMEOUT = 123
    REMOVED = 124
    LINEAGE_CHANGED = 125


def status_of(number: int) -> Union[Status, int]:
    """Returns the `Status` of a number, or the number itself when the library is newer than this package."""
    try:
        return Status(number)
    except ValueError:
        return number


class LibraryError(ImportError):
    """The shared library is missing, older than this package, or of another ABI."""


class ReplicationError(Exception):
    """A call failed. Every status has a subclass of its own; a status that this package does not know has this one.

    The text is the library's: which sequence, address, errno or argument.
    """

    status: Union[Status, int]
    """Why."""
    sequence: int = 0
    """Of `Sender.replicate`: the number under which the entry was taken although the call failed; 0: it was not."""

    _classes: ClassVar[Dict[int, Type[ReplicationError]]] = {}
    _status: ClassVar[Optional[Status]] = None

    def __init_subclass__(cls, status: Optional[Status] = None, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if status is not None:
            cls._status = status
            ReplicationError._classes[status] = cls

    def __init__(self, message: str, status: Optional[int] = None) -> None:
        super().__init__(message)
        self.message = message
        own = self._status if self._status is not None else Status.APPLY_FAILED
        self.status = own if status is None else status_of(status)

    @property
    def name(self) -> str:
        """The name of the status, such as ``"SEQUENCE_GAP"``."""
        return self.status.name if isinstance(self.status, Status) else "UNKNOWN"

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"

    def __reduce__(self) -> Any:
        return (type(self), (self.message, int(self.status)))


def error_of(status: int, message: str) -> ReplicationError:
    """Makes the exception of a status."""
    return ReplicationError._classes.get(status, ReplicationError)(message, status)


class InvalidArgumentError(ReplicationError, ValueError, status=Status.INVALID_ARGUMENT):
    """An argument is missing, out of range, or not UTF-8."""


class InvalidStateError(ReplicationError, status=Status.INVALID_STATE):
    """The call does not fit the state: before the start, or started twice."""


class ClosedError(ReplicationError, status=Status.CLOSED):
    """It was stopped or closed."""


class WrongThreadError(ReplicationError, status=Status.WRONG_THREAD):
    """A call that waits was made in a callback of the same object."""


class ForkedError(ReplicationError, status=Status.FORKED):
    """It was made by another process: threads do not survive a fork."""


class PanicError(ReplicationError, status=Status.PANIC):
    """The library failed inside; the object can only be closed."""


class TimedOutError(ReplicationError, TimeoutError, status=Status.TIMEOUT):
    """The given time passed."""


class IOFailedError(ReplicationError, OSError, status=Status.IO):
    """The operating system refused; the text has the errno and the address or path."""


class BadAddressError(ReplicationError, ValueError, status=Status.BAD_ADDRESS):
    """An address that does not parse or does not resolve."""


class AddressInUseError(ReplicationError, OSError, status=Status.ADDRESS_IN_USE):
    """The address is taken by another socket."""


class BadDescriptorError(ReplicationError, OSError, status=Status.BAD_DESCRIPTOR):
    """A descriptor that is closed or is no stream socket."""


class NotFoundError(ReplicationError, LookupError, status=Status.NOT_FOUND):
    """No such reader, row, key or stream."""


class WrongTypeError(ReplicationError, TypeError, status=Status.WRONG_TYPE):
    """The value is of another type, or does not fit the type asked for."""


class BufferTooSmallError(ReplicationError, status=Status.BUFFER_TOO_SMALL):
    """A buffer is too small."""


class TruncatedError(ReplicationError, status=Status.TRUNCATED):
    """A frame that is not whole."""


class MessageTooSmallError(ReplicationError, ValueError, status=Status.MESSAGE_TOO_SMALL):
    """A frame of length 0."""


class MessageTooLargeError(ReplicationError, ValueError, status=Status.MESSAGE_TOO_LARGE):
    """A frame or payload over its limit."""


class OutOfMemoryError(ReplicationError, MemoryError, status=Status.OUT_OF_MEMORY):
    """No memory."""


class DecodeFailedError(ReplicationError, ValueError, status=Status.DECODE_FAILED):
    """A payload that is not an array of maps in msgpack."""


class DamagedError(ReplicationError, status=Status.DAMAGED):
    """Files on disk that are not what the library wrote there."""


class LockedError(ReplicationError, status=Status.LOCKED):
    """The log's directory is in use."""


class DiskFullError(ReplicationError, OSError, status=Status.DISK_FULL):
    """No room on the disk; it goes on when there is room."""


class GatedError(ReplicationError, status=Status.GATED):
    """Too few readers are near enough for another entry: the write gate is shut."""


class StalledError(ReplicationError, OSError, status=Status.STALLED):
    """The log's disk refuses for another reason than room, which may pass."""


class SequenceGapError(ReplicationError, status=Status.SEQUENCE_GAP):
    """The reader is too far behind to resume."""


class WalRotatedError(ReplicationError, status=Status.WAL_ROTATED):
    """The log was rotated; a full resync is needed."""


class InvalidMessageError(ReplicationError, ValueError, status=Status.INVALID_MSG):
    """A message that breaks the protocol."""


class NotWriterError(ReplicationError, status=Status.NOT_WRITER):
    """This node is not the writer."""


class BufferFullError(ReplicationError, status=Status.BUFFER_FULL):
    """The buffer is full."""


class WriteFailedError(ReplicationError, status=Status.WRITE_FAILED):
    """Writing to the peer failed."""


class ApplyFailedError(ReplicationError, status=Status.APPLY_FAILED):
    """Applying an entry failed."""


class DivergedError(ReplicationError, status=Status.DIVERGED):
    """Another lineage: a foreign stream, an older epoch, or another history."""


class RegressedError(ReplicationError, status=Status.REGRESSED):
    """The writer of the same stream is behind this reader."""


class ReplacedError(ReplicationError, status=Status.REPLACED):
    """Another connection took this reader's id."""


class PeerTimeoutError(ReplicationError, status=Status.PEER_TIMEOUT):
    """The peer was silent, or took no bytes, for too long."""


class RemovedError(ReplicationError, status=Status.REMOVED):
    """The host removed this reader."""


class LineageChangedError(ReplicationError, status=Status.LINEAGE_CHANGED):
    """The writer changed while something of the one before was waited for."""
