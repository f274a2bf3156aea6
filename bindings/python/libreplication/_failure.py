"""The base class of all errors, and the conversion of a status to an error."""

from __future__ import annotations

from typing import Any, ClassVar, Dict, Optional, Type, Union

from .constants import Status


def status_of(number: int) -> Union[Status, int]:
    """Returns the `Status` of a number, or the number itself if the library is newer than this package."""
    try:
        return Status(number)
    except ValueError:
        return number


class LibraryError(ImportError):
    """The shared library is missing, older than this package, or of another ABI."""


class ReplicationError(Exception):
    """A call failed. Every status has its own subclass; a status that this package does not know has this class.

    The text is the library's: which sequence, address, errno or argument.
    """

    status: Union[Status, int]
    """The reason for the failure."""
    sequence: int = 0
    """For `Sender.replicate`: the sequence of an entry that was appended although the call failed; otherwise 0."""
    token: Optional[bytes] = None
    """For `Sender.replicate_token`: the token of an entry that was appended although it failed; otherwise None."""

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
    """Returns the exception for a status."""
    return ReplicationError._classes.get(status, ReplicationError)(message, status)
