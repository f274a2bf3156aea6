"""Records: payloads that are arrays of maps in msgpack."""

from __future__ import annotations

import ctypes
from typing import Any, Callable, List, Optional

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


def decode_records(payload: Payload) -> List[Record]:
    """Decodes a payload: msgpack, an array of maps. Raises `DecodeFailedError` for anything else.

    Uses the `msgpack` package when it is installed, which is several times faster, else the library. Both give the
    same: strings that are not UTF-8 as bytes, extension types as `(code, data)`; of several equal keys the last counts.
    What is nested deeper than 128 levels, or has more than 16777216 values, is taken by the package only.
    """
    data = _arguments.octets("payload", payload)
    return _by_msgpack(data) if HAVE_MSGPACK else _by_library(data)


def records_json(payload: Payload) -> str:
    """Gives the records of a payload as a JSON array: bytes as base64, extensions as {"ext":type,"data":base64}."""
    native = library()
    with _Parsed(_arguments.octets("payload", payload)) as parsed:
        out, length = ctypes.c_char_p(), ctypes.c_size_t()
        check(native.replication_records_json(parsed, ctypes.byref(out), ctypes.byref(length)))
        return (out.value or b"").decode()


def record_value(payload: Payload, row: int, key: str, kind: Optional[ValueType] = None) -> Any:
    """Finds one value by its row and key, and makes no object of the rest. `NotFoundError` when it is not there.

    With a `kind` the value is read as that: an integer that fits, the float nearest to an integer. `WrongTypeError` for
    anything else.
    """
    number, name = _arguments.count("row", row), _arguments.text("key", key)
    with _Parsed(_arguments.octets("payload", payload)) as parsed:
        out = ctypes.c_void_p()
        check(library().replication_records_get(parsed, number, name, ctypes.byref(out)))
        return _value(library(), out.value, kind)


def handler_of(callback: Callable[[Records], None]) -> Callable[[Entry], None]:
    """A handler of entries that decodes with the `msgpack` package."""

    def handle(entry: Entry) -> None:
        callback(Records(entry.sequence, entry.timestamp_us, _by_msgpack(entry.data)))

    return handle


def native_handler_of(callback: Callable[[Records], None]) -> Callable[[int, int, int], None]:
    """The same for what the library has decoded."""

    def handle(sequence: int, timestamp_us: int, records: int) -> None:
        callback(Records(sequence, timestamp_us, _records(library(), records)))

    return handle


# ---- with the package -----------------------------------------------------------------------------------------------


def _by_msgpack(data: bytes) -> List[Record]:
    try:
        # Text that is not UTF-8 survives as lone surrogates, and only then is looked for.
        records = msgpack.unpackb(
            data, raw=False, strict_map_key=False, unicode_errors="surrogateescape", timestamp=0, ext_hook=ExtType
        )
    except Exception:
        return _by_library(data)  # which is the judge, and says where it is wrong
    if type(records) is not list or not all(type(record) is dict for record in records):
        return _by_library(data)
    return [_plain(record) for record in records] if _is_odd(data) else records


def _is_odd(data: bytes) -> bool:
    """Whether there may be values that the two ways would give differently."""
    if b"\xd6\xff" in data or b"\xd7\xff" in data or b"\xc7\x0c\xff" in data:
        return True  # perhaps a timestamp
    try:
        data.decode("ascii")
        return False
    except UnicodeDecodeError:
        return True


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is str:
        try:
            value.encode()
            return value
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogateescape")
    if kind is dict:
        return {_plain(key): _plain(item) for key, item in value.items()}
    if kind is list:
        return [_plain(item) for item in value]
    if kind is msgpack.Timestamp:
        return ExtType(-1, value.to_bytes())
    return value


# ---- with the library -----------------------------------------------------------------------------------------------


class _Parsed:
    """Records that the library decoded, for the time of a ``with`` statement."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._records = ctypes.c_void_p()

    def __enter__(self) -> Optional[int]:
        native = library()
        check(native.replication_records_parse(self._data, len(self._data), ctypes.byref(self._records)))
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
    """A value of the library as an object, read as its own type or a wanted one."""
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
        keys = (_value(native, _child(native.replication_value_key_at, value, index)) for index in range(size))
        try:
            return {key: _value(native, _child(native.replication_value_at, value, n)) for n, key in enumerate(keys)}
        except TypeError:
            raise DecodeFailedError("a key of a map is an array or a map, which Python cannot hold") from None
    raise DecodeFailedError(f"a value of a type that this package does not know, {kind}")


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
