"""Messages of protocol v1, for hosts that exchange them with a peer themselves."""

from __future__ import annotations

import ctypes
from typing import Any, Callable, NamedTuple, Optional

from . import _arguments
from ._arguments import Payload
from ._handle import check, last_error
from ._native import library
from .entry import Entry
from .errors import Status

ENTRY = 0x10
ACK = 0x11
SYNC = 0x12
SYNC_ACK = 0x13
ERROR = 0x1F


class Message(NamedTuple):
    """A message at the start of a buffer."""

    type: int
    json: bytes
    """The bytes after the type."""
    size: int
    """The size of the whole message in bytes; the next message begins after it."""


class Ack(NamedTuple):
    """Acknowledges a reader's entries."""

    last_sequence: int
    reader_id: str


class Sync(NamedTuple):
    """Begins a session with a reader's position."""

    reader_id: str
    last_known_sequence: int


class SyncAck(NamedTuple):
    """The writer's reply to a Sync message."""

    current_sequence: int
    can_resume: bool
    error: str
    """Why the reader is refused; "" if it is not."""


class Error(NamedTuple):
    """Reports a failure at the peer."""

    code: str
    message: str


def read_message(buffer: Payload) -> Message:
    """Reads the message at the start of a buffer. Raises `TruncatedError` if it is incomplete."""
    data = _arguments.octets("buffer", buffer)
    kind, json = ctypes.c_uint8(), ctypes.c_void_p()
    length, size = ctypes.c_size_t(), ctypes.c_size_t()
    outs = (ctypes.byref(kind), ctypes.byref(json), ctypes.byref(length), ctypes.byref(size))
    check(library().replication_read_message(data, len(data), *outs))
    return Message(kind.value, data[size.value - length.value : size.value], size.value)


def write_message(type: int, json: Payload) -> bytes:
    """Writes a message of any type."""
    data = _arguments.octets("json", json)
    return _written(library().replication_write_message, _arguments.whole("type", type, 255), data, len(data))


def write_entry(sequence: int, timestamp_us: int, payload: Optional[Payload]) -> bytes:
    """Writes an Entry message. A payload of None is written as null."""
    data = None if payload is None else _arguments.octets("payload", payload)
    number, at = _arguments.whole("sequence", sequence), _arguments.whole("timestamp_us", timestamp_us)
    return _written(library().replication_write_entry, number, at, data, len(data or b""))


def write_ack(last_sequence: int, reader_id: str) -> bytes:
    """Writes an Ack message."""
    number, name = _arguments.whole("last_sequence", last_sequence), _arguments.text("reader_id", reader_id)
    return _written(library().replication_write_ack, number, name)


def write_sync(reader_id: str, last_known_sequence: int, coordinator: bool = False) -> bytes:
    """Writes a Sync message; with `coordinator`, using the message type of a cluster coordinator."""
    name, number = _arguments.text("reader_id", reader_id), _arguments.whole("last_known_sequence", last_known_sequence)
    return _written(library().replication_write_sync, name, number, coordinator)


def write_sync_ack(current_sequence: int, can_resume: bool, error: str = "", coordinator: bool = False) -> bytes:
    """Writes a SyncAck message; with `coordinator`, using the message type of a cluster coordinator."""
    number, why = _arguments.whole("current_sequence", current_sequence), _arguments.text("error", error)
    return _written(library().replication_write_sync_ack, number, can_resume, why, coordinator)


def write_error(code: str, message: str) -> bytes:
    """Writes an Error message."""
    return _written(
        library().replication_write_error, _arguments.text("code", code), _arguments.text("message", message)
    )


def parse_entry(json: Payload) -> Entry:
    """Parses the JSON of an Entry message."""
    data = _arguments.octets("json", json)
    sequence, at, length = ctypes.c_uint64(), ctypes.c_uint64(), ctypes.c_size_t()
    # Base64 is longer than the bytes it encodes.
    room = ctypes.create_string_buffer(max(1, len(data)))
    outs = (ctypes.byref(sequence), ctypes.byref(at), room, len(room), ctypes.byref(length))
    check(library().replication_parse_entry(data, len(data), *outs))
    return Entry(sequence.value, at.value, memoryview(room.raw[: length.value]))


def parse_ack(json: Payload) -> Ack:
    """Parses the JSON of an Ack message."""
    number, name = ctypes.c_uint64(), _Text(json)
    check(library().replication_parse_ack(*name.json, ctypes.byref(number), *name.out))
    return Ack(number.value, name.value())


def parse_sync(json: Payload) -> Sync:
    """Parses the JSON of a Sync message."""
    number, name = ctypes.c_uint64(), _Text(json)
    check(library().replication_parse_sync(*name.json, ctypes.byref(number), *name.out))
    return Sync(name.value(), number.value)


def parse_sync_ack(json: Payload) -> SyncAck:
    """Parses the JSON of a SyncAck message."""
    number, resumes, error = ctypes.c_uint64(), ctypes.c_bool(), _Text(json)
    check(library().replication_parse_sync_ack(*error.json, ctypes.byref(number), ctypes.byref(resumes), *error.out))
    return SyncAck(number.value, resumes.value, error.value())


def parse_error(json: Payload) -> Error:
    """Parses the JSON of an Error message."""
    code, message = _Text(json), _Text(json)
    check(library().replication_parse_error(*code.json, *code.out, *message.out))
    return Error(code.value(), message.value())


def _written(call: Callable[..., Any], *arguments: Any) -> bytes:
    """Asks for the size of a message, then writes the message."""
    size = ctypes.c_size_t()
    status = call(*arguments, None, 0, ctypes.byref(size))
    if status != Status.BUFFER_TOO_SMALL:
        raise last_error(status)
    buffer = ctypes.create_string_buffer(size.value)
    check(call(*arguments, buffer, size.value, ctypes.byref(size)))
    return buffer.raw


class _Text:
    """A buffer for a string of a message. Only escapes can make a string longer than its JSON."""

    def __init__(self, json: Payload) -> None:
        data = _arguments.octets("json", json)
        self.json = (data, len(data))
        self._room = ctypes.create_string_buffer(3 * len(data) + 1)
        self._length = ctypes.c_size_t()
        self.out = (self._room, len(self._room), ctypes.byref(self._length))

    def value(self) -> str:
        return self._room.raw[: self._length.value].decode()
