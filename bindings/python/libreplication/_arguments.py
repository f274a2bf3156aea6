"""Checks arguments before ctypes converts them: it would truncate a large number, and pass a str as a pointer."""

from __future__ import annotations

import _thread
import inspect
import math
import operator
import os
import threading
import time
from typing import Any, Callable, List, Optional, TypeVar, Union

from ._handle import check, last_error
from ._native import SIZE_MAX, UINT64_MAX
from .errors import InvalidArgumentError, ReplicationError, Status, error_of

Payload = Union[bytes, bytearray, memoryview]
"""A payload to send: any object with a buffer."""

_T = TypeVar("_T")

_SLICE_MS = 100
_LONG_MS = 3_600_000


def whole(name: str, value: int, most: int = UINT64_MAX) -> int:
    """Returns a number from 0 to `most`."""
    number = operator.index(value)
    if not 0 <= number <= most:
        raise InvalidArgumentError(f"{name} is {number}, it must be from 0 to {most}")
    return number


def count(name: str, value: int) -> int:
    """Returns a number that fits a size_t."""
    return whole(name, value, SIZE_MAX)


def text(name: str, value: str) -> bytes:
    """Returns a string as UTF-8."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    return _encoded(name, value)


def path(name: str, value: Union[str, "os.PathLike[str]"]) -> bytes:
    """Returns the path of a file."""
    given = os.fspath(value)
    if not isinstance(given, str):
        raise TypeError(f"{name} must be a path of str, not {type(given).__name__}")
    return _encoded(name, given)


def _encoded(name: str, value: str) -> bytes:
    try:
        encoded = value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"{name} is not Unicode text: {error}") from None
    if b"\0" in encoded:
        raise InvalidArgumentError(f"{name} has a NUL in it")
    return encoded


def octets(name: str, value: Payload) -> bytes:
    """Returns bytes, copied unless they are `bytes`."""
    if type(value) is bytes:
        return value
    try:
        return memoryview(value).tobytes()
    except TypeError:
        raise TypeError(f"{name} must be bytes or have a buffer, not {type(value).__name__}") from None


def handler(name: str, value: Any) -> Any:
    """Returns a callable, which must not be a coroutine function."""
    if not callable(value):
        raise TypeError(f"{name} must be callable, not {type(value).__name__}")
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(type(value).__call__):
        raise TypeError(f"{name} must not be a coroutine function: what it returns would never be awaited")
    return value


def milliseconds(timeout: Optional[float]) -> Optional[int]:
    """Converts seconds to milliseconds, rounded up; None stays None and means no limit."""
    if timeout is None:
        return None
    if isinstance(timeout, str) or math.isnan(timeout) or timeout < 0:
        raise InvalidArgumentError(f"timeout is {timeout!r}, it must be a number of seconds, not below 0, or None")
    return None if timeout > 1e9 else math.ceil(timeout * 1000)


def wait(call: Callable[[int], int], timeout: Optional[float], goes_on: Optional[Callable[[], bool]] = None) -> None:
    """Waits with a function that takes milliseconds and returns a status; raises the status unless it is OK.

    A thread that is inside the library notices no signal and no cancellation. The main thread, and a thread that waits
    for a coroutine, therefore split a wait into short ones and check between them.
    """
    limit = milliseconds(timeout)
    breathes = goes_on is not None or on_main_thread()
    longest = _SLICE_MS if breathes else _LONG_MS
    deadline = None if limit is None else time.monotonic() + limit / 1000
    left = limit
    while True:
        ms = longest if left is None else min(left, longest)
        status = call(ms)
        if status != Status.TIMEOUT:
            return check(status)
        left = None if deadline is None else math.ceil((deadline - time.monotonic()) * 1000)
        if (left is not None and left <= 0) or (goes_on is not None and not goes_on()):
            raise _timed_out(ms, limit)


def _timed_out(ms: int, limit: Optional[int]) -> ReplicationError:
    """Returns the error of a wait whose last part took `ms` milliseconds, with the timeout that the caller gave."""
    error = last_error(Status.TIMEOUT)
    if limit is None or limit == ms:
        return error
    before, _, after = error.message.rpartition(f"within {ms} ms")
    return error_of(Status.TIMEOUT, f"{before}within {limit} ms{after}") if before else error


def on_main_thread() -> bool:
    """Returns whether this is the thread on which Python runs signal handlers."""
    return threading.get_ident() == threading.main_thread().ident


def interruptible(call: Callable[[], _T]) -> _T:
    """Makes a call that may take long and cannot be split.

    The main thread runs it on another thread, so that Ctrl-C interrupts the wait; the call then continues on its own.
    """
    if not on_main_thread():
        return call()
    results: List[_T] = []
    errors: List[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)
        ended.set()

    try:
        _thread.start_new_thread(run, ())
    except RuntimeError:
        return call()  # no thread is available, as at the end of the interpreter
    ended.wait()
    if errors:
        raise errors.pop()
    return results.pop()
