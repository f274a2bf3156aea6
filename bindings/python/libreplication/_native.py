"""The C interface: every function of ``include/replication.h``, and how the library is found and checked.

This is the one place that knows the library's symbols. `library` gives the loaded library, whose attributes are the
functions; the rest of the package is made of these.
"""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from .errors import LibraryError

ABI_VERSION = 1
"""The ABI that this package is written for; the library's own must be equal."""

VERSION = "0.1.0"
"""The version of this package, which is that of the library it was made with."""

SONAME = "libreplication.so.0.1"

HEADER_SIZE = 5
"""Bytes of a message of protocol v1 before its JSON."""
MAX_MESSAGE_SIZE = 100 << 20
"""The largest length that a message of protocol v1 may name."""
MAX_READER_ID_BYTES = 255
"""The longest reader id."""
STREAM_ID_BYTES = 16
"""The size of a stream id."""
TOKEN_BYTES = 48
"""The size of a token."""

UINT64_MAX = 2**64 - 1
SIZE_MAX = 2 ** (8 * ctypes.sizeof(ctypes.c_size_t)) - 1

# ---- types ----------------------------------------------------------------------------------------------------------

status = ctypes.c_int32
i32 = ctypes.c_int32
u8 = ctypes.c_uint8
u32 = ctypes.c_uint32
u64 = ctypes.c_uint64
size = ctypes.c_size_t
flag = ctypes.c_bool
descriptor = ctypes.c_int
text = ctypes.c_char_p
pointer = ctypes.c_void_p


class EventStruct(ctypes.Structure):
    """``replication_event``. The library's may be longer; what is here is there since ABI 1."""

    _fields_ = [
        ("struct_size", size),
        ("kind", i32),
        ("status", i32),
        ("sequence", u64),
        ("reader_id", text),
        ("address", text),
        ("message", text),
        ("detail_json", text),
    ]


class SliceStruct(ctypes.Structure):
    """``replication_slice``, frozen."""

    _fields_ = [("data", pointer), ("len", size)]


class EntryStruct(ctypes.Structure):
    """``replication_entry``, frozen."""

    _fields_ = [("sequence", u64), ("timestamp_us", u64), ("payload", pointer), ("payload_len", size)]


FreeFn = ctypes.CFUNCTYPE(None, pointer)
EventFn = ctypes.CFUNCTYPE(None, pointer, ctypes.POINTER(EventStruct))
LogFn = ctypes.CFUNCTYPE(None, pointer, i32, text, text)
AckedFn = ctypes.CFUNCTYPE(None, pointer, u64, i32, size)
IngestFn = ctypes.CFUNCTYPE(i32, pointer, u64, u64, pointer, size)
IngestBatchFn = ctypes.CFUNCTYPE(i32, pointer, pointer, size, ctypes.POINTER(size))
RecordFn = ctypes.CFUNCTYPE(i32, pointer, u64, u64, pointer)
ConnectFn = ctypes.CFUNCTYPE(descriptor, pointer, text)

# ---- functions ------------------------------------------------------------------------------------------------------

# Name: (result, arguments...), in the order of the header. Out parameters are pointers.
PROTOTYPES: Dict[str, Tuple[Any, ...]] = {
    # Errors and texts
    "replication_status_name": (text, i32),
    "replication_last_error_message": (text,),
    "replication_string_free": (None, pointer),
    # Version
    "replication_version": (text,),
    "replication_version_number": (u32,),
    "replication_abi_version": (u32,),
    # Sender configuration
    "sender_config_new": (pointer,),
    "sender_config_free": (None, pointer),
    "sender_config_set_buffer_size": (status, pointer, size),
    "sender_config_set_buffer_bytes": (status, pointer, u64),
    "sender_config_set_full_policy": (status, pointer, u32, u64),
    "sender_config_set_write_timeout_ms": (status, pointer, u64),
    "sender_config_set_handshake_timeout_ms": (status, pointer, u64),
    "sender_config_set_heartbeat_interval_ms": (status, pointer, u64),
    "sender_config_set_min_heartbeat_ms": (status, pointer, u64),
    "sender_config_set_peer_timeout_ms": (status, pointer, u64),
    "sender_config_set_stop_timeout_ms": (status, pointer, u64),
    "sender_config_set_max_readers": (status, pointer, size),
    "sender_config_set_unix_socket_mode": (status, pointer, u32),
    "sender_config_set_io_threads": (status, pointer, u32),
    "sender_config_set_stream": (status, pointer, pointer, u64),
    "sender_config_set_last_sequence": (status, pointer, u64),
    "sender_config_set_insecure_permissions_allowed": (status, pointer, flag),
    "sender_config_set_tls": (status, pointer, text, text, text),
    "sender_config_set_event_handler": (status, pointer, EventFn, pointer, FreeFn),
    "sender_config_set_log_handler": (status, pointer, i32, LogFn, pointer, FreeFn),
    "sender_config_add_group": (status, pointer, text, pointer, size),
    "sender_config_set_write_gate": (status, pointer, size, u64, u64, u32, u32, u64),
    "sender_config_set_max_pending_acks": (status, pointer, size),
    # Sender
    "sender_new": (status, pointer, pointer),
    "sender_start": (status, pointer),
    "sender_listen": (status, pointer, text, pointer),
    "sender_accept_reader": (status, pointer, descriptor, text, u64),
    "sender_accept_connection": (status, pointer, descriptor),
    "sender_replicate": (status, pointer, u64, pointer, size, pointer),
    "sender_replicate_batch": (status, pointer, u64, pointer, size, pointer),
    "sender_remove_reader": (status, pointer, text),
    "sender_reader_count": (size, pointer),
    "sender_current_sequence": (u64, pointer),
    "sender_get_stream": (status, pointer, pointer, pointer),
    "sender_set_writable": (status, pointer, flag),
    "sender_stats_json": (status, pointer, pointer),
    "sender_stop": (status, pointer),
    "sender_free": (None, pointer),
    # Waiting for readers
    "replication_quorum_new": (pointer,),
    "replication_quorum_add": (status, pointer, text, size),
    "replication_quorum_free": (None, pointer),
    "sender_wait_acked": (status, pointer, u64, u32, size, u64, pointer),
    "sender_wait_acked_quorum": (status, pointer, u64, u32, pointer, u64, pointer),
    "sender_acked": (status, pointer, u64, u32, size, pointer),
    "sender_acked_quorum": (status, pointer, u64, u32, pointer, pointer),
    "sender_on_acked": (status, pointer, u64, u32, size, u64, AckedFn, pointer, FreeFn, pointer),
    "sender_on_acked_quorum": (status, pointer, u64, u32, pointer, u64, AckedFn, pointer, FreeFn, pointer),
    "sender_ticket_status": (status, pointer, u64, pointer),
    # Sender: the log on disk
    "sender_config_set_log_dir": (status, pointer, text),
    "sender_config_set_log_sync": (status, pointer, u32, u64, u64),
    "sender_config_set_log_segment_bytes": (status, pointer, u64),
    "sender_config_set_log_retain_bytes": (status, pointer, u64),
    "sender_config_set_log_retain_ms": (status, pointer, u64),
    "sender_config_set_slot_max_bytes": (status, pointer, u64),
    "sender_config_set_slot_expiry_ms": (status, pointer, u64),
    "sender_config_set_log_timeout_ms": (status, pointer, u64),
    "sender_config_set_token": (status, pointer, pointer, u64),
    "sender_get_token": (status, pointer, pointer),
    "sender_wait_durable": (status, pointer, u64, u64),
    "sender_slots_json": (status, pointer, pointer),
    "sender_drop_slot": (status, pointer, text),
    # Receiver configuration
    "receiver_config_new": (pointer,),
    "receiver_config_free": (None, pointer),
    "receiver_config_set_reader_id": (status, pointer, text),
    "receiver_config_set_writer_addr": (status, pointer, text),
    "receiver_config_set_last_sequence": (status, pointer, u64),
    "receiver_config_set_stream": (status, pointer, pointer, u64),
    "receiver_config_set_protocol": (status, pointer, u32),
    "receiver_config_set_coordinator_handshake": (status, pointer, flag),
    "receiver_config_set_gap_policy": (status, pointer, u32),
    "receiver_config_set_apply_policy": (status, pointer, u32, u32),
    "receiver_config_set_handler_durable": (status, pointer, flag),
    "receiver_config_set_reconnect_interval_ms": (status, pointer, u64),
    "receiver_config_set_ack_interval_ms": (status, pointer, u64),
    "receiver_config_set_connect_timeout_ms": (status, pointer, u64),
    "receiver_config_set_heartbeat_interval_ms": (status, pointer, u64),
    "receiver_config_set_peer_timeout_ms": (status, pointer, u64),
    "receiver_config_set_buffer_bytes": (status, pointer, u64),
    "receiver_config_set_max_epoch_jump": (status, pointer, u64),
    "receiver_config_set_insecure_permissions_allowed": (status, pointer, flag),
    "receiver_config_set_tls": (status, pointer, text, text, text, text),
    "receiver_config_set_ingest_handler": (status, pointer, IngestFn, pointer, FreeFn),
    "receiver_config_set_ingest_batch_handler": (status, pointer, size, IngestBatchFn, pointer, FreeFn),
    "receiver_config_set_record_handler": (status, pointer, RecordFn, pointer, FreeFn),
    "receiver_config_set_local_wal": (status, pointer, IngestFn, pointer, FreeFn),
    "receiver_config_set_connect_handler": (status, pointer, ConnectFn, pointer, FreeFn),
    "receiver_config_set_event_handler": (status, pointer, EventFn, pointer, FreeFn),
    "receiver_config_set_log_handler": (status, pointer, i32, LogFn, pointer, FreeFn),
    "receiver_config_set_max_entry_bytes": (status, pointer, u64),
    "receiver_config_set_records_max_bytes": (status, pointer, u64),
    # Receiver
    "receiver_new": (status, pointer, pointer),
    "receiver_start": (status, pointer),
    "receiver_is_connected": (flag, pointer),
    "receiver_last_sequence": (u64, pointer),
    "receiver_get_stream": (status, pointer, pointer, pointer),
    "receiver_wait_sequence": (status, pointer, u64, u64),
    "receiver_pause": (status, pointer),
    "receiver_resume": (status, pointer),
    "receiver_stats_json": (status, pointer, pointer),
    "receiver_stop": (status, pointer),
    "receiver_free": (None, pointer),
    # Receiver: the log on disk, and tokens
    "receiver_config_set_log_dir": (status, pointer, text),
    "receiver_config_set_log_sync": (status, pointer, u32, u64, u64),
    "receiver_config_set_log_segment_bytes": (status, pointer, u64),
    "receiver_config_set_log_retain_bytes": (status, pointer, u64),
    "receiver_config_set_log_retain_ms": (status, pointer, u64),
    "receiver_config_set_token": (status, pointer, pointer),
    "receiver_get_token": (status, pointer, pointer),
    # Messages of protocol v1, over the caller's buffers
    "replication_read_message": (status, pointer, size, pointer, pointer, pointer, pointer),
    "replication_write_message": (status, u8, pointer, size, pointer, size, pointer),
    "replication_write_entry": (status, u64, u64, pointer, size, pointer, size, pointer),
    "replication_write_ack": (status, u64, text, pointer, size, pointer),
    "replication_write_sync": (status, text, u64, flag, pointer, size, pointer),
    "replication_write_sync_ack": (status, u64, flag, text, flag, pointer, size, pointer),
    "replication_write_error": (status, text, text, pointer, size, pointer),
    "replication_parse_entry": (status, pointer, size, pointer, pointer, pointer, size, pointer),
    "replication_parse_ack": (status, pointer, size, pointer, pointer, size, pointer),
    "replication_parse_sync": (status, pointer, size, pointer, pointer, size, pointer),
    "replication_parse_sync_ack": (status, pointer, size, pointer, pointer, pointer, size, pointer),
    "replication_parse_error": (status, pointer, size, pointer, size, pointer, pointer, size, pointer),
    # Records: the msgpack payload, decoded
    "replication_records_parse": (status, pointer, size, pointer),
    "replication_records_parse_within": (status, pointer, size, u64, pointer),
    "replication_records_free": (None, pointer),
    "replication_records_count": (size, pointer),
    "replication_records_get": (status, pointer, size, text, pointer),
    "replication_records_row": (status, pointer, size, pointer),
    "replication_records_json": (status, pointer, pointer, pointer),
    "replication_value_type_of": (i32, pointer),
    "replication_value_bool": (status, pointer, pointer),
    "replication_value_i64": (status, pointer, pointer),
    "replication_value_u64": (status, pointer, pointer),
    "replication_value_f64": (status, pointer, pointer),
    "replication_value_string": (status, pointer, pointer, pointer),
    "replication_value_bytes": (status, pointer, pointer, pointer),
    "replication_value_ext_type": (status, pointer, pointer),
    "replication_value_count": (size, pointer),
    "replication_value_at": (status, pointer, size, pointer),
    "replication_value_key_at": (status, pointer, size, pointer),
    "replication_value_get": (status, pointer, text, pointer),
}

# ---- loading --------------------------------------------------------------------------------------------------------

ENVIRONMENT = ("LIBREPLICATION_LIB", "REPLICATION_LIB")
"""Variables that name the library's file. The first that is set decides alone."""

_library: Optional[ctypes.CDLL] = None
_loading = threading.Lock()


def library() -> Any:
    """Returns the library, loaded at the first call.

    It is the file that the environment variable ``LIBREPLICATION_LIB`` or ``REPLICATION_LIB`` names; else the one
    inside this package; else the system's. Raises `LibraryError` when there is none, or one that does not fit.
    """
    global _library
    if _library is None:
        with _loading:
            if _library is None:
                _library = _load()
    return _library


def _load() -> ctypes.CDLL:
    for variable in ENVIRONMENT:
        path = os.environ.get(variable)
        if path:
            try:
                return _bind(ctypes.CDLL(path), path)
            except OSError as error:
                raise LibraryError(f"cannot load the library that {variable} names: {error}") from None
    inside = Path(__file__).parent / "lib" / SONAME
    failures: List[str] = []
    # The second name is a file, the others are looked for by the system's loader.
    for name in (str(inside), SONAME, "libreplication.so"):
        if name == str(inside) and not inside.exists():
            failures.append(f"{inside}: not in this package")
            continue
        try:
            loaded = ctypes.CDLL(name)
        except OSError as error:
            failures.append(str(error))
            continue
        return _bind(loaded, name)
    raise LibraryError(
        f"libreplication is not installed: {'; '.join(failures)}. Install the wheel that has the library inside, "
        f"install the library on this system, or name its file in {ENVIRONMENT[0]}"
    )


def _bind(loaded: ctypes.CDLL, name: str) -> ctypes.CDLL:
    """Checks the ABI before anything else is called, and gives every function its prototype."""
    try:
        abi_version = loaded.replication_abi_version
    except AttributeError:
        raise LibraryError(f"{name} is not libreplication: it has no replication_abi_version") from None
    abi_version.restype, abi_version.argtypes = u32, []
    found = abi_version()
    if found != ABI_VERSION:
        raise LibraryError(
            f"{name} has ABI {found}, this package (libreplication {VERSION}) needs ABI {ABI_VERSION}: install the "
            f"package and the library of one version"
        )
    missing = []
    for function, (result, *arguments) in PROTOTYPES.items():
        try:
            symbol = getattr(loaded, function)
        except AttributeError:
            missing.append(function)
            continue
        symbol.restype, symbol.argtypes = result, arguments
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise LibraryError(
            f"{name} is older than this package (libreplication {VERSION}): it lacks {missing[0]}{others}; install the "
            f"library of that version"
        )
    return loaded
