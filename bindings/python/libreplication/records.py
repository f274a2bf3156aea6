"""Records: payloads that are msgpack arrays of maps."""

from __future__ import annotations

import ctypes
import re
from typing import Any, Callable, Dict, List, Optional

from . import _arguments
from ._arguments import Payload
from ._handle import check
from ._native import library
from .constants import ValueType
from .entry import Entry
from .errors import DecodeFailedError, WrongTypeError
from .values import ExtType, Record, Records

try:
    import msgpack

    HAVE_MSGPACK = True
except ImportError:
    HAVE_MSGPACK = False

# The header of an extension of type -1, whose last byte is the type. The msgpack package converts these to timestamps,
# which lose their encoding. The search begins with the last byte, which is rare.
_TIMESTAMP = re.compile(rb"\xff(?:(?<=[\xd4-\xd8]\xff)|(?<=\xc7.\xff)|(?<=\xc8..\xff)|(?<=\xc9....\xff))", re.DOTALL)


def decode_records(payload: Payload, max_bytes: Optional[int] = None) -> List[Record]:
    """Decodes a payload: a msgpack array of maps. Raises `DecodeFailedError` for anything else.

    `max_bytes` is how many bytes of memory the library's values may use, by default 256 MiB; Python's objects use more.

    The library checks the payload. Then the `msgpack` package creates the objects if it is installed, which is many
    times faster. Without the package, and for values that it would change, the library's values are used. The result is
    the same: strings that are not UTF-8 become bytes, extension types become `(code, data)`. If a key occurs more than
    once, the last one counts; different keys that a dict treats as equal, such as 1, 1.0 and True, are an error.
    """
    data = _arguments.octets("payload", payload)
    limit = None if max_bytes is None else _arguments.whole("max_bytes", max_bytes)
    with _Parsed(data, limit) as parsed:
        rows = _by_msgpack(data) if HAVE_MSGPACK else None
        return _records(library(), parsed) if rows is None else rows


def records_json(payload: Payload) -> str:
    """Returns the records of a payload as a JSON array: bytes as base64, extensions as {"ext":type,"data":base64}."""
    native = library()
    with _Parsed(_arguments.octets("payload", payload)) as parsed:
        out, length = ctypes.c_char_p(), ctypes.c_size_t()
        check(native.replication_records_json(parsed, ctypes.byref(out), ctypes.byref(length)))
        return (out.value or b"").decode()


def record_value(payload: Payload, row: int, key: str, kind: Optional[ValueType] = None) -> Any:
    """Returns one value by its row and key, without creating other objects. Raises `NotFoundError` if there is none.

    With a `kind` the value is read as that type: an integer that fits, the float nearest to an integer. Otherwise it
    raises `WrongTypeError`.
    """
    number, name = _arguments.count("row", row), _arguments.text("key", key)
    with _Parsed(_arguments.octets("payload", payload)) as parsed:
        out = ctypes.c_void_p()
        check(library().replication_records_get(parsed, number, name, ctypes.byref(out)))
        return _value(library(), out.value, kind)


def handler_of(callback: Callable[[Records], None], max_bytes: Optional[int]) -> Callable[[Entry], None]:
    """Returns a handler of entries that decodes them for a callback."""

    def handle(entry: Entry) -> None:
        callback(Records(entry.sequence, entry.timestamp_us, decode_records(entry.data, max_bytes)))

    return handle


# ---- with the package -----------------------------------------------------------------------------------------------


def _by_msgpack(data: bytes) -> Optional[List[Record]]:
    """Decodes a payload that the library has accepted; returns None where the package would give another result."""
    if _is_odd(data):
        return None
    try:
        # Strict: it refuses strings that are not UTF-8, and keys other than str and bytes, which may clash in a dict.
        rows: List[Record] = msgpack.unpackb(data, raw=False, strict_map_key=True, ext_hook=ExtType)
        return rows
    except Exception:
        return None


def _is_odd(data: bytes) -> bool:
    """Returns whether the payload may contain a timestamp."""
    return _TIMESTAMP.search(data) is not None


# ---- with the library -----------------------------------------------------------------------------------------------


class _Parsed:
    """Records that the library decoded; they exist during a ``with`` statement."""

    def __init__(self, data: bytes, max_bytes: Optional[int] = None) -> None:
        self._data = data
        self._max_bytes = max_bytes
        self._records = ctypes.c_void_p()

    def __enter__(self) -> Optional[int]:
        native, data, out = library(), self._data, ctypes.byref(self._records)
        if self._max_bytes is None:
            check(native.replication_records_parse(data, len(data), out))
        else:
            check(native.replication_records_parse_within(data, len(data), self._max_bytes, out))
        return self._records.value

    def __exit__(self, *_: object) -> None:
        library().replication_records_free(self._records)


def _by_library(data: bytes) -> List[Record]:
    with _Parsed(data) as parsed:
        return _records(library(), parsed)


def _records(native: Any, records: Optional[int]) -> List[Record]:
    rows: List[Record] = []
    out = ctypes.c_void_p()
    for row in range(native.replication_records_count(records)):
        check(native.replication_records_row(records, row, ctypes.byref(out)))
        rows.append(_value(native, out.value))
    return rows


def _value(native: Any, value: Optional[int], wanted: Optional[ValueType] = None) -> Any:
    """Converts a value of the library to an object, by its own type or the wanted one."""
    kind = native.replication_value_type_of(value)
    if wanted is not None and wanted != kind:
        if wanted not in (ValueType.BOOL, ValueType.I64, ValueType.U64, ValueType.F64, ValueType.STRING):
            raise WrongTypeError(f"the value is of type {kind}, not {wanted}")
        kind = wanted
    if kind == ValueType.NIL:
        return None
    if kind == ValueType.BOOL:
        return _number(native.replication_value_bool, ctypes.c_bool(), value)
    if kind == ValueType.I64:
        return _number(native.replication_value_i64, ctypes.c_int64(), value)
    if kind == ValueType.U64:
        return _number(native.replication_value_u64, ctypes.c_uint64(), value)
    if kind == ValueType.F64:
        return _number(native.replication_value_f64, ctypes.c_double(), value)
    if kind == ValueType.STRING:
        return _octets(native.replication_value_string, value).decode()
    if kind == ValueType.BYTES:
        return _octets(native.replication_value_bytes, value)
    if kind == ValueType.EXT:
        code = _number(native.replication_value_ext_type, ctypes.c_int8(), value)
        return ExtType(code, _octets(native.replication_value_bytes, value))
    size = native.replication_value_count(value)
    if kind == ValueType.ARRAY:
        return [_value(native, _child(native.replication_value_at, value, index)) for index in range(size)]
    if kind == ValueType.MAP:
        keys = [_value(native, _child(native.replication_value_key_at, value, index)) for index in range(size)]
        _check_keys(keys)
        return {key: _value(native, _child(native.replication_value_at, value, n)) for n, key in enumerate(keys)}
    raise DecodeFailedError(f"a value of a type that this package does not know, {kind}")


def _check_keys(keys: List[Any]) -> None:
    """Refuses keys that a dict cannot hold, and different keys that it treats as equal."""
    first: Dict[Any, Any] = {}
    for key in keys:
        try:
            other = first.setdefault(key, key)
        except TypeError:
            raise DecodeFailedError("a key of a map is an array or a map, which a dict cannot hold") from None
        if other is not key and repr(other) != repr(key):
            raise DecodeFailedError(f"a map has the keys {other!r} and {key!r}, which are one key in a dict")


def _number(call: Any, out: Any, value: Optional[int]) -> Any:
    check(call(value, ctypes.byref(out)))
    return out.value


def _octets(call: Any, value: Optional[int]) -> bytes:
    out, length = ctypes.c_void_p(), ctypes.c_size_t()
    check(call(value, ctypes.byref(out), ctypes.byref(length)))
    return ctypes.string_at(out.value or 0, length.value)


def _child(call: Any, value: Optional[int], index: int) -> Optional[int]:
    out = ctypes.c_void_p()
    check(call(value, index, ctypes.byref(out)))
    return out.value
