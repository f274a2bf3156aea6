"""The base of all errors, and how a status becomes one."""

from __future__ import annotations

from typing import Any, ClassVar, Dict, Optional, Type, Union

from .constants import Status


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
