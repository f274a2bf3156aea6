"""The functions that the library calls. There is one C function of each kind, which finds its host by number. So
nothing that ctypes created is freed while it may still run, and the library never holds a pointer to a Python object.

An exception must not leave any of them: ctypes would print it and return 0, which means *applied*.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import logging
import threading
import traceback
import weakref
from typing import Any, Callable, Dict, Optional, Tuple

from . import _thread_state
from ._raw import AckedFn, AuthorizeFn, ConnectFn, EventFn, IngestBatchFn, IngestFn, LogFn
from .constants import EventKind, LogLevel
from .entry import MEMORY, Batch, Entry
from .errors import ClosedError, ReplicationError, Status, status_of
from .event import Event
from .values import AccessRequest

_LEVELS: Dict[int, int] = {
    LogLevel.ERROR: logging.ERROR,
    LogLevel.WARN: logging.WARNING,
    LogLevel.INFO: logging.INFO,
    LogLevel.DEBUG: logging.DEBUG,
}
_FAILURES = (EventKind.APPLY_FAILED, EventKind.ENTRY_SKIPPED, EventKind.STOPPED)
_FAILURE_NAMES = tuple(kind.name for kind in _FAILURES)

_get_ident = threading.get_ident

# The entry is not applied, because the receiver is closed or gone.
_OVER = int(Status.CLOSED)


class Stopping(ClosedError):
    """Raised by a handler of this package that does not apply an entry because the receiver is being stopped."""


class Handlers:
    """The Python functions that the callbacks of one handle call.

    The sender or receiver owns them, so that a handler that refers to its own receiver does not keep it alive.
    """

    def __init__(
        self, kind: str, logger: Optional[logging.Logger], on_event: Optional[Callable[[Event], None]]
    ) -> None:
        self.logger = logger if logger is not None else logging.getLogger(f"libreplication.{kind}")
        self.on_event = on_event
        self.on_authorize: Optional[Callable[[AccessRequest], None]] = None
        self.handler: Any = None
        self.local_wal: Any = None
        self.connect: Any = None

    def max_level(self) -> int:
        """Returns the least severe log level that is worth a call."""
        return LogLevel.DEBUG if self.logger.isEnabledFor(logging.DEBUG) else LogLevel.INFO


class Host:
    """The state of the callbacks of one handle, found by the number that the library passes back."""

    def __init__(self, handlers: Handlers) -> None:
        self.key = next(_keys)
        self._handlers = weakref.ref(handlers)
        self.thread = 0
        """The thread that runs a callback; 0 if none does."""
        self.kept = False
        """Whether Python's state of that thread is kept between callbacks."""
        self.ended = False
        """Whether the handle was closed in one of its callbacks. No other callback begins then."""
        self.failure: Tuple[int, str] = (0, "")
        """The entry that failed last, and the traceback of its exception. The traceback is "" if a stop caused the
        failure, which is then not reported. The events arrive before the next attempt."""
        _hosts[self.key] = self

    def enter(self) -> Optional[Handlers]:
        """Begins a callback. Returns None if the handle is closed or its owner is gone."""
        if self.ended:
            return None
        self.thread = _get_ident()
        if not self.kept:
            self.kept = True
            _thread_state.keep()
        return self._handlers()


_keys = itertools.count(1)
_hosts: Dict[int, Host] = {}
_waiting: Dict[int, Tuple[Host, Callable[[Any, int], None]]] = {}


def forget(host: Host) -> None:
    """Removes a host that receives no more callbacks."""
    _hosts.pop(host.key, None)


def expect(host: Host, callback: Callable[[Any, int], None]) -> int:
    """Registers a callback for when readers have acknowledged an entry, and returns its number."""
    key = next(_keys)
    _waiting[key] = (host, callback)
    return key


def unexpect(key: int) -> None:
    """Removes a callback whose registration with the library failed."""
    _waiting.pop(key, None)


def _text(value: Optional[bytes]) -> str:
    return value.decode("utf-8", "replace") if value else ""


def _report(host: Optional[Host], what: str) -> None:
    """Logs the exception that is being handled, even if the host's logging fails."""
    try:
        handlers = host._handlers() if host is not None else None
        logger = handlers.logger if handlers is not None else logging.getLogger("libreplication")
        logger.exception("%s raised an exception", what)
    except BaseException:
        pass


def _failed(host: Optional[Host], sequence: int, error: BaseException) -> int:
    """Keeps the traceback for the events of this failure, and returns the status to pass to the library."""
    try:
        if host is not None:
            host.failure = (sequence, "" if isinstance(error, Stopping) else traceback.format_exc())
        if isinstance(error, ReplicationError) and error.status != Status.OK:
            return int(error.status)
    except BaseException:
        pass
    return int(Status.APPLY_FAILED)


def _ingest(key: int, sequence: int, timestamp_us: int, payload: int, length: int) -> int:
    host = _hosts.get(key)
    try:
        handlers = host.enter() if host is not None else None
        if handlers is None:
            return _OVER
        handlers.handler(Entry(sequence, timestamp_us, memoryview(MEMORY[payload : payload + length])))
        return 0
    except BaseException as error:
        return _failed(host, sequence, error)
    finally:
        if host is not None:
            host.thread = 0


def _local_wal(key: int, sequence: int, timestamp_us: int, payload: int, length: int) -> int:
    host = _hosts.get(key)
    try:
        handlers = host.enter() if host is not None else None
        if handlers is None:
            return _OVER
        handlers.local_wal(Entry(sequence, timestamp_us, memoryview(MEMORY[payload : payload + length])))
        return 0
    except BaseException as error:
        return _failed(host, sequence, error)
    finally:
        if host is not None:
            host.thread = 0


def _ingest_batch(key: int, entries: int, count: int, applied: Any) -> int:
    host = _hosts.get(key)
    batch = None
    try:
        handlers = host.enter() if host is not None else None
        if handlers is None:
            return _OVER
        batch = Batch(entries, count)
        handlers.handler(batch)
        return 0
    except BaseException as error:
        sequence = 0
        try:
            if batch is not None:
                applied[0] = done = min(max(int(batch.applied), 0), count)
                sequence = batch._field(done, 0) if done < count else 0
        except BaseException:
            pass  # the handler set applied to something invalid: no entry counts as applied
        return _failed(host, sequence, error)
    finally:
        if batch is not None:
            batch._end()
        if host is not None:
            host.thread = 0


def _connect(key: int, address: Optional[bytes]) -> int:
    host = _hosts.get(key)
    try:
        handlers = host.enter() if host is not None else None
        if handlers is None:
            return -1
        made = handlers.connect(_text(address))
        return int(made if isinstance(made, int) else made.detach())
    except BaseException:
        _report(host, "the connect handler")
        return -1
    finally:
        if host is not None:
            host.thread = 0


def _event(key: int, pointer: Any) -> None:
    host = _hosts.get(key)
    try:
        handlers = host.enter() if host is not None else None
        if host is None or handlers is None or handlers.on_event is None:
            return
        told = pointer.contents
        if told.kind in _FAILURES and host.failure == (told.sequence, ""):
            return
        try:
            kind: Any = EventKind(told.kind)
        except ValueError:
            kind = told.kind
        handlers.on_event(
            Event(
                kind,
                status_of(told.status),
                told.sequence,
                _text(told.reader_id),
                _text(told.address),
                _text(told.message),
                json.loads(told.detail_json),
                _traceback(host, told.sequence) if kind in _FAILURES else None,
                _text(told.identity),
            )
        )
    except BaseException:
        _report(host, "the event handler")
    finally:
        if host is not None:
            host.thread = 0


def _authorize(key: int, pointer: Any) -> None:
    host = _hosts.get(key)
    try:
        handlers = host.enter() if host is not None else None
        if handlers is None or handlers.on_authorize is None:
            return
        asked = pointer.contents
        handlers.on_authorize(
            AccessRequest(
                asked.ticket,
                _text(asked.reader_id),
                _text(asked.address),
                _text(asked.identity),
                ctypes.string_at(asked.stream_id, 16) if asked.stream_id else None,
                asked.epoch,
                asked.sequence,
                asked.rights,
                asked.tls,
                asked.handed,
            )
        )
    except BaseException:
        _report(host, "the authorize handler")
    finally:
        if host is not None:
            host.thread = 0


def _log(key: int, level: int, message: Optional[bytes], fields_json: Optional[bytes]) -> None:
    host = _hosts.get(key)
    try:
        handlers = host.enter() if host is not None else None
        severity = _LEVELS.get(level, logging.DEBUG)
        if host is None or handlers is None or not handlers.logger.isEnabledFor(severity):
            return
        fields = json.loads(fields_json or b"{}")
        text = _text(message)
        if fields.get("event") in _FAILURE_NAMES:
            if host.failure == (fields.get("sequence"), ""):
                return
            trace = _traceback(host, fields.get("sequence", 0))
            text = f"{text}\n{trace}" if trace else text
        handlers.logger.log(severity, "%s", text, extra={"replication": fields})
    except BaseException:
        _report(None, "the log handler")
    finally:
        if host is not None:
            host.thread = 0


def _traceback(host: Host, sequence: int) -> Optional[str]:
    failed, trace = host.failure
    return trace if failed == sequence and trace else None


def _acked(key: int, status: int, readers: int) -> None:
    host: Optional[Host] = None
    try:
        host, callback = _waiting.pop(key)
        host.thread = _get_ident()
        callback(status_of(status), readers)
    except BaseException:
        _report(host, "the callback of on_acked")
    finally:
        if host is not None:
            host.thread = 0


ingest = IngestFn(_ingest)
local_wal = IngestFn(_local_wal)
ingest_batch = IngestBatchFn(_ingest_batch)
connect = ConnectFn(_connect)
event = EventFn(_event)
authorize = AuthorizeFn(_authorize)
log = LogFn(_log)
acked = AckedFn(_acked)
