"""The writer's end."""

from __future__ import annotations

import ctypes
import itertools
import json
import logging
import socket
import time
import warnings
from array import array
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Union

from . import _arguments, _callbacks, _handle
from ._arguments import Payload
from ._callbacks import Handlers, Host
from ._handle import Config, check
from ._native import library
from ._raw import TOKEN_MAX_BYTES, FreeFn, SliceStruct
from .constants import AckLevel, FullPolicy
from .errors import Status
from .event import Event
from .quorum import Quorum
from .secret import Secret, pointer_of
from .values import AccessRequest, Acked, Path, SenderTls, WalSync, WriteGate

NO_FREE = FreeFn()

# An array of replication_slice, as numbers: an address, a length, an address, ...
_WORD = "Q" if ctypes.sizeof(SliceStruct) == 16 else "I"


class Sender:
    """Accepts entries and streams them to readers.

    It is a context manager: entering starts the sender, leaving closes it. Any thread may call any method at any time.
    Options that are left out have the library's defaults. Each option calls the setter of the same name in
    ``include/replication.h``, which documents it.
    """

    def __init__(
        self,
        *,
        buffer_size: Optional[int] = None,
        buffer_bytes: Optional[int] = None,
        full_policy: Optional[FullPolicy] = None,
        full_wait_ms: int = 0,
        write_timeout_ms: Optional[int] = None,
        handshake_timeout_ms: Optional[int] = None,
        heartbeat_interval_ms: Optional[int] = None,
        min_heartbeat_ms: Optional[int] = None,
        peer_timeout_ms: Optional[int] = None,
        stop_timeout_ms: Optional[int] = None,
        max_readers: Optional[int] = None,
        max_handshakes: Optional[int] = None,
        max_handshakes_per_address: Optional[int] = None,
        max_handshakes_per_network: Optional[int] = None,
        max_connection_rate_per_address: Optional[int] = None,
        io_threads: Optional[int] = None,
        unix_socket_mode: Optional[int] = None,
        access_rules: Optional[str] = None,
        access_file: Optional[Path] = None,
        trusted_network: Optional[bool] = None,
        secrets: Sequence[Secret] = (),
        plain_secrets_allowed: Optional[bool] = None,
        last_sequence: Optional[int] = None,
        token: Optional[bytes] = None,
        epoch: int = 0,
        tls: Optional[SenderTls] = None,
        insecure_permissions_allowed: Optional[bool] = None,
        groups: Optional[Mapping[str, Sequence[str]]] = None,
        write_gate: Optional[WriteGate] = None,
        max_pending_acks: Optional[int] = None,
        wal_dir: Optional[Path] = None,
        wal_sync: Optional[WalSync] = None,
        wal_segment_bytes: Optional[int] = None,
        wal_retain_bytes: Optional[int] = None,
        wal_retain_ms: Optional[int] = None,
        wal_timeout_ms: Optional[int] = None,
        slot_max_bytes: Optional[int] = None,
        slot_expiry_ms: Optional[int] = None,
        on_event: Optional[Callable[[Event], None]] = None,
        on_authorize: Optional[Callable[[AccessRequest], None]] = None,
        logger: Optional[logging.Logger] = None,
    ) -> None:
        """Creates a sender, which `start` starts.

        `epoch` belongs to `token`: it is the epoch of this sender; 0: that of the token. `on_event` is called with each
        `Event`. Log records go to `logger`, by default ``logging.getLogger("libreplication.sender")``.
        """
        with Config("sender") as config:
            numbers = {
                "buffer_bytes": buffer_bytes,
                "write_timeout_ms": write_timeout_ms,
                "handshake_timeout_ms": handshake_timeout_ms,
                "heartbeat_interval_ms": heartbeat_interval_ms,
                "min_heartbeat_ms": min_heartbeat_ms,
                "peer_timeout_ms": peer_timeout_ms,
                "stop_timeout_ms": stop_timeout_ms,
                "last_sequence": last_sequence,
                "wal_segment_bytes": wal_segment_bytes,
                "wal_retain_bytes": wal_retain_bytes,
                "wal_retain_ms": wal_retain_ms,
                "wal_timeout_ms": wal_timeout_ms,
                "slot_max_bytes": slot_max_bytes,
                "slot_expiry_ms": slot_expiry_ms,
            }
            sizes = {
                "buffer_size": buffer_size,
                "max_readers": max_readers,
                "max_pending_acks": max_pending_acks,
                "max_handshakes": max_handshakes,
                "max_handshakes_per_address": max_handshakes_per_address,
                "max_handshakes_per_network": max_handshakes_per_network,
            }
            set_numbers(config, numbers, _arguments.whole)
            set_numbers(config, sizes, _arguments.count)
            if full_policy is not None:
                config.set(
                    "set_full_policy", u32("full_policy", full_policy), _arguments.whole("full_wait_ms", full_wait_ms)
                )
            if max_connection_rate_per_address is not None:
                rate = u32("max_connection_rate_per_address", max_connection_rate_per_address)
                config.set("set_max_connection_rate_per_address", rate)
            if io_threads is not None:
                config.set("set_io_threads", u32("io_threads", io_threads))
            if unix_socket_mode is not None:
                config.set("set_unix_socket_mode", u32("unix_socket_mode", unix_socket_mode))
            if token is not None:
                known = _arguments.octets("token", token)
                config.set("set_token", known, len(known), _arguments.whole("epoch", epoch))
            if insecure_permissions_allowed is not None:
                # Set before the options that depend on it.
                config.set("set_insecure_permissions_allowed", bool(insecure_permissions_allowed))
            if access_rules is not None:
                config.set("set_access_rules", _arguments.text("access_rules", access_rules))
            if access_file is not None:
                config.set("set_access_file", _arguments.path("access_file", access_file))
            if trusted_network is not None:
                config.set("set_trusted_network", bool(trusted_network))
            for secret in secrets:
                config.set("add_secret", pointer_of("secrets", secret))
            if plain_secrets_allowed is not None:
                config.set("set_plain_secrets_allowed", bool(plain_secrets_allowed))
            if tls is not None:
                chain = _arguments.path("certificate_chain_file", tls.certificate_chain_file)
                key = _arguments.path("private_key_file", tls.private_key_file)
                config.set("set_tls", chain, key, optional_path("client_ca_file", tls.client_ca_file))
                if tls.crl_file is not None:
                    config.set("set_tls_crl_file", _arguments.path("crl_file", tls.crl_file))
            for name, members in (groups or {}).items():
                ids = [_arguments.text("reader_ids", member) for member in members]
                config.set("add_group", _arguments.text("group", name), (ctypes.c_char_p * len(ids))(*ids), len(ids))
            if write_gate is not None:
                set_write_gate(config, write_gate)
            set_log(config, wal_dir, wal_sync)
            observer = None if on_event is None else _arguments.handler("on_event", on_event)
            self._handlers = handlers = Handlers("sender", logger, observer)
            host = Host(handlers)
            if on_authorize is not None:
                handlers.on_authorize = _arguments.handler("on_authorize", on_authorize)
            try:
                set_observers(config, handlers, host)
                self._handle = _handle.make("sender", config, host)
            except BaseException:
                _callbacks.forget(host)
                raise
        self._library = library()
        self._replicate = self._library.sender_replicate
        self._started = False

    # ---- life ----

    def start(self) -> None:
        """Starts the threads. From then on the sender accepts entries and readers."""
        with self._handle as pointer:
            check(self._library.sender_start(pointer))
        self._started = True

    def stop(self) -> None:
        """Refuses new entries, lets readers catch up for the stop timeout, and closes everything.

        Raises `TimedOutError` if some readers lack entries; the sender is stopped nevertheless. `stats` still works.
        """

        def stop() -> None:
            with self._handle as pointer:
                check(self._library.sender_stop(pointer))

        _arguments.interruptible(stop)

    def close(self) -> None:
        """Stops the sender if it runs, and frees it. May be called in any state, from any thread, and repeatedly.

        On return no callback runs. In a callback of this sender it returns at once, and another thread closes it.
        """
        self._handle.close()

    @property
    def closed(self) -> bool:
        """Whether the sender was closed."""
        return self._handle.closed

    def __enter__(self) -> Sender:
        if not self._started:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        handle = self.__dict__.get("_handle")
        if handle is not None and not handle.closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            handle.abandon()

    def __reduce__(self) -> str:
        raise TypeError("a Sender cannot be pickled or sent to another process: make it in the process that uses it")

    # ---- readers ----

    def listen(self, address: str) -> int:
        """Accepts readers at "host:port", with port 0 for any free port, "unix:/path" or "unix:@name".

        Returns the port, or 0 for a Unix socket."""
        port = ctypes.c_uint16()
        name = _arguments.text("address", address)

        def listen() -> None:
            with self._handle as pointer:
                check(self._library.sender_listen(pointer, name, ctypes.byref(port)))

        _arguments.interruptible(listen)  # resolving a name may take long
        return port.value

    def accept_reader(
        self,
        connection: Union[socket.socket, int],
        reader_id: str,
        last_known_sequence: int,
        rights: Optional[int] = None,
    ) -> None:
        """Streams to a reader whose Sync message the host has read. On success the library owns the connection.

        `rights` is what it may do, a sum of `Right` values; None: what the access rules say.
        """
        name = _arguments.text("reader_id", reader_id)
        known = _arguments.whole("last_known_sequence", last_known_sequence)
        with self._handle as pointer:
            descriptor = descriptor_of(connection)
            if rights is None:
                check(self._library.sender_accept_reader(pointer, descriptor, name, known))
            else:
                number = u32("rights", rights)
                check(self._library.sender_accept_reader_with_rights(pointer, descriptor, name, known, number))
        given_away(connection)

    def accept_connection(self, connection: Union[socket.socket, int], rights: Optional[int] = None) -> None:
        """Serves a new connection, handshake included. On success the library owns the connection.

        `rights` is as for `accept_reader`.
        """
        with self._handle as pointer:
            descriptor = descriptor_of(connection)
            if rights is None:
                check(self._library.sender_accept_connection(pointer, descriptor))
            else:
                number = u32("rights", rights)
                check(self._library.sender_accept_connection_with_rights(pointer, descriptor, number))
        given_away(connection)

    def authorize(self, ticket: int, rights: int) -> None:
        """Lets a connection follow about which `on_authorize` was asked, with those of the rights that it may have.

        `rights` is a sum of `Right` values. Raises `NotFoundError` if the connection waits no more.
        """
        with self._handle as pointer:
            number = _arguments.whole("ticket", ticket)
            check(self._library.sender_authorize(pointer, number, u32("rights", rights), None))

    def refuse(self, ticket: int, reason: str = "") -> None:
        """Refuses it. The reason is for the event, not for the peer."""
        with self._handle as pointer:
            number, text = _arguments.whole("ticket", ticket), _arguments.text("reason", reason)
            check(self._library.sender_authorize(pointer, number, 0, text))

    def add_secret(self, secret: Secret) -> None:
        """Adds a secret by which readers may prove who they are. A name may have two.

        To replace one, add the new one, give it to the readers, and remove the old one. Raises `InvalidStateError`
        for a third secret with one name.
        """
        with self._handle as pointer:
            check(self._library.sender_add_secret(pointer, pointer_of("secret", secret)))

    def remove_secret(self, name: str) -> None:
        """Removes the older secret with a name, or the only one.

        Readers that proved who they are by it are disconnected. Raises `NotFoundError` if there is none.
        """
        with self._handle as pointer:
            check(self._library.sender_remove_secret(pointer, _arguments.text("name", name)))

    def set_access_rules(self, rules: str) -> None:
        """Replaces the access rules. Readers that do not keep their rights are disconnected.

        Raises `InvalidArgumentError` for a mistake, whose line and column it names; the rules are then those of before.
        """
        with self._handle as pointer:
            check(self._library.sender_set_access_rules(pointer, _arguments.text("rules", rules)))

    def reload_access_file(self) -> None:
        """Replaces the access rules with what their file has now."""
        with self._handle as pointer:
            check(self._library.sender_reload_access_file(pointer))

    def remove_reader(self, reader_id: str) -> None:
        """Disconnects a reader, which may connect again."""
        with self._handle as pointer:
            check(self._library.sender_remove_reader(pointer, _arguments.text("reader_id", reader_id)))

    @property
    def reader_count(self) -> int:
        """The number of connected readers."""
        with self._handle as pointer:
            return int(self._library.sender_reader_count(pointer))

    def slots(self) -> List[Dict[str, Any]]:
        """Returns the readers' slots in the log on disk."""
        with self._handle as pointer:
            slots: List[Dict[str, Any]] = read_json(self._library, self._library.sender_slots_json, pointer)
            return slots

    def drop_slot(self, reader_id: str) -> None:
        """Drops the slot of a reader that will not come back."""
        with self._handle as pointer:
            check(self._library.sender_drop_slot(pointer, _arguments.text("reader_id", reader_id)))

    # ---- entries ----

    def replicate(self, payload: Payload, timestamp_us: Optional[int] = None) -> int:
        """Appends an entry to the log and returns its sequence. Does not wait for readers, unless a policy says so.

        `timestamp_us` is in microseconds since the Unix epoch, by default now. If the error's `sequence` is not 0, the
        entry was appended with that sequence but not synced (`SyncPolicy.ALWAYS`): `wait_durable` reports its outcome.
        """
        data = payload if type(payload) is bytes else _arguments.octets("payload", payload)
        at = time.time_ns() // 1000 if timestamp_us is None else _arguments.whole("timestamp_us", timestamp_us)
        sequence = ctypes.c_uint64()
        with self._handle as pointer:
            status = self._replicate(pointer, at, data, len(data), ctypes.byref(sequence))
            if status:
                error = _handle.last_error(status)
                error.sequence = sequence.value
                raise error
        return sequence.value

    def replicate_token(self, payload: Payload, timestamp_us: Optional[int] = None) -> bytes:
        """Appends an entry as `replicate` does, and returns its token, which identifies it at every node.

        If the error's `token` is not None, the entry was appended but not synced.
        """
        data = payload if type(payload) is bytes else _arguments.octets("payload", payload)
        at = time.time_ns() // 1000 if timestamp_us is None else _arguments.whole("timestamp_us", timestamp_us)
        token = ctypes.create_string_buffer(TOKEN_MAX_BYTES)
        length = ctypes.c_size_t()
        with self._handle as pointer:
            status = self._library.sender_replicate_token(
                pointer, at, data, len(data), token, TOKEN_MAX_BYTES, ctypes.byref(length)
            )
            if status:
                error = _handle.last_error(status)
                error.token = token.raw[: length.value] or None
                raise error
        return token.raw[: length.value]

    def replicate_batch(self, payloads: Iterable[Payload], timestamp_us: Optional[int] = None) -> int:
        """Appends entries with consecutive sequences, all of them or none, and returns the first sequence.

        Costs much less per entry than `replicate`. All entries have the same timestamp, by default now.
        """
        pieces = [piece if type(piece) is bytes else _arguments.octets("payload", piece) for piece in payloads]
        at = time.time_ns() // 1000 if timestamp_us is None else _arguments.whole("timestamp_us", timestamp_us)
        # One copy of all payloads, and the table of their positions in it.
        together = b"".join(pieces)
        lengths = array(_WORD, map(len, pieces))
        begin = ctypes.cast(ctypes.c_char_p(together), ctypes.c_void_p).value or 0
        table = array(_WORD, bytes(2 * len(lengths) * lengths.itemsize))
        table[0::2] = array(_WORD, itertools.accumulate(lengths[:-1], initial=begin)) if pieces else lengths
        table[1::2] = lengths
        first = ctypes.c_uint64()
        with self._handle as pointer:
            status = self._library.sender_replicate_batch(
                pointer, at, table.buffer_info()[0], len(pieces), ctypes.byref(first)
            )
            if status:
                error = _handle.last_error(status)
                error.sequence = first.value
                raise error
        return first.value

    @property
    def current_sequence(self) -> int:
        """The last entry's sequence; 0 if there is none."""
        with self._handle as pointer:
            return int(self._library.sender_current_sequence(pointer))

    def wait_durable(self, sequence: int, timeout: Optional[float] = None) -> None:
        """Waits until an entry is on this node's disk. `timeout` is in seconds; None: no limit."""
        self._wait_durable(sequence, timeout, None)

    def _wait_durable(self, sequence: int, timeout: Optional[float], goes_on: Optional[Callable[[], bool]]) -> None:
        number = _arguments.whole("sequence", sequence)
        with self._handle as pointer:
            _arguments.wait(lambda ms: int(self._library.sender_wait_durable(pointer, number, ms)), timeout, goes_on)

    # ---- history ----

    def token(self) -> bytes:
        """Returns the token of the position after the last entry, to store and to go on from after a restart."""
        return read_token(self._handle, self._library.sender_token)

    def set_writable(self, writable: bool) -> None:
        """Sets whether this node is the writer, as a new sender is."""
        with self._handle as pointer:
            check(self._library.sender_set_writable(pointer, bool(writable)))

    def set_tls(self, tls: SenderTls, recheck: bool = False) -> None:
        """Replaces the certificates of a sender that has TLS, for the connections that come.

        With `recheck` it disconnects readers whose certificate would not be accepted any more.
        """
        chain = _arguments.path("certificate_chain_file", tls.certificate_chain_file)
        key = _arguments.path("private_key_file", tls.private_key_file)
        ca, crl = optional_path("client_ca_file", tls.client_ca_file), optional_path("crl_file", tls.crl_file)
        with self._handle as pointer:
            check(self._library.sender_set_tls(pointer, chain, key, ca, crl, bool(recheck)))

    def reload_tls(self, recheck: bool = False) -> None:
        """Reads the files of the certificates again. `recheck` is as for `set_tls`."""
        with self._handle as pointer:
            check(self._library.sender_reload_tls(pointer, bool(recheck)))

    def set_option(self, name: str, value: int) -> None:
        """Changes an option of a sender that lives, by its name in ``docs/options.md``."""
        with self._handle as pointer:
            check(
                self._library.sender_set_option(
                    pointer, _arguments.text("name", name), _arguments.whole("value", value)
                )
            )

    def option(self, name: str) -> int:
        """Returns the value of an option that `set_option` takes."""
        return read_option(self._handle, self._library.sender_option, name)

    def stats(self) -> Dict[str, Any]:
        """Returns the statistics. ``docs/embedding.md`` lists the keys."""
        with self._handle as pointer:
            stats: Dict[str, Any] = read_json(self._library, self._library.sender_stats_json, pointer)
            return stats

    # ---- acknowledgements ----

    def wait_acked(
        self, sequence: int, level: AckLevel = AckLevel.APPLIED, readers: int = 1, timeout: Optional[float] = None
    ) -> int:
        """Waits until readers have acknowledged an entry that this sender numbered, and returns how many have.

        `timeout` is in seconds; None: no limit. After a `TimedOutError` readers may still have the entry, now or later.
        Raises `LostError` for an entry before the one at which this sender's epoch began: see `wait_token`.
        """
        return self._wait_acked(sequence, level, readers, timeout, None)

    def _wait_acked(
        self,
        sequence: int,
        level: AckLevel,
        readers: int,
        timeout: Optional[float],
        goes_on: Optional[Callable[[], bool]],
    ) -> int:
        number, sure = _arguments.whole("sequence", sequence), u32("level", level)
        wanted = _arguments.count("readers", readers)
        out = ctypes.c_size_t()
        native = self._library
        with self._handle as pointer:
            _arguments.wait(
                lambda ms: int(native.sender_wait_acked(pointer, number, sure, wanted, ms, ctypes.byref(out))),
                timeout,
                goes_on,
            )
        return out.value

    def wait_token(
        self,
        token: bytes,
        level: AckLevel = AckLevel.APPLIED,
        readers: Union[int, Quorum] = 1,
        timeout: Optional[float] = None,
    ) -> int:
        """Waits until a number or a quorum of readers have acknowledged the entry of a token; returns how many have.

        The token is from `replicate_token`, perhaps before a restart or a promotion. Raises `LostError` if the entry is
        not in this sender's history, and `WalRotatedError` if the log no longer tells. After a `TimedOutError` readers
        may still have the entry, now or later; `acked` reports whether they do.
        """
        known, sure, quorum = _arguments.octets("token", token), u32("level", level), quorum_of(readers)
        out = ctypes.c_size_t()
        native = self._library
        with self._handle as pointer:
            _arguments.wait(
                lambda ms: int(
                    native.sender_wait_token(pointer, known, len(known), sure, quorum._pointer, ms, ctypes.byref(out))
                ),
                timeout,
            )
        return out.value

    def acked(self, token: bytes, level: AckLevel = AckLevel.APPLIED, readers: Union[int, Quorum] = 1) -> Acked:
        """Reports, without waiting, whether a number or a quorum of readers have acknowledged the entry of a token."""
        known, sure, quorum = _arguments.octets("token", token), u32("level", level), quorum_of(readers)
        out = ctypes.c_size_t()
        with self._handle as pointer:
            status = self._library.sender_acked(pointer, known, len(known), sure, quorum._pointer, ctypes.byref(out))
            return acked_of(status, out.value)

    def on_acked(
        self,
        token: bytes,
        callback: Callable[[Union[Status, int], int], None],
        level: AckLevel = AckLevel.APPLIED,
        readers: Union[int, Quorum] = 1,
        timeout: Optional[float] = None,
    ) -> None:
        """Calls ``callback(status, readers)`` once, when readers have acknowledged the entry of a token. Does not wait.

        The status is `OK`, `TIMEOUT` or `CLOSED`. The call runs on the sender's callback thread.
        """
        _arguments.handler("callback", callback)
        known, sure, quorum = _arguments.octets("token", token), u32("level", level), quorum_of(readers)
        limit = _arguments.milliseconds(timeout)
        within = (1 << 64) - 1 if limit is None else limit
        native = self._library
        with self._handle as pointer:
            key = _callbacks.expect(self._handle.host, callback)
            try:
                check(
                    native.sender_on_acked(
                        pointer, known, len(known), sure, quorum._pointer, within, _callbacks.acked, key, NO_FREE
                    )
                )
            except BaseException:
                _callbacks.unexpect(key)
                raise


# ---- shared with the receiver ---------------------------------------------------------------------------------------


def u32(name: str, value: int) -> int:
    """Returns a number that fits a uint32_t."""
    return _arguments.whole(name, value, 2**32 - 1)


def set_numbers(config: Config, options: Mapping[str, Optional[int]], valid: Callable[[str, int], int]) -> None:
    """Sets the options that are not None."""
    for option, value in options.items():
        if value is not None:
            config.set(f"set_{option}", valid(option, value))


def quorum_of(readers: Union[int, Quorum]) -> Quorum:
    """Returns a quorum; a number stands for so many of any readers."""
    return readers if isinstance(readers, Quorum) else Quorum.any(readers)


def set_write_gate(config: Config, gate: WriteGate) -> None:
    """Sets the write gate; a gate for 0 readers sets none."""
    if gate.min_readers == 0:
        return
    native = library()
    made = native.replication_write_gate_new()
    if not made:
        raise _handle.last_error(Status.OUT_OF_MEMORY)
    try:
        readers = _arguments.count("min_readers", gate.min_readers)
        _handle.check(native.replication_write_gate_set_min_readers(made, readers))
        for option, value in (("max_lag_entries", gate.max_lag_entries), ("max_lag_ms", gate.max_lag_ms)):
            setter = getattr(native, f"replication_write_gate_set_{option}")
            _handle.check(setter(made, _arguments.whole(option, value)))
        _handle.check(native.replication_write_gate_set_level(made, u32("level", gate.level)))
        wait_ms = _arguments.whole("max_wait_ms", gate.max_wait_ms)
        _handle.check(native.replication_write_gate_set_policy(made, u32("policy", gate.policy), wait_ms))
        config.set("set_write_gate", made)
    finally:
        native.replication_write_gate_free(made)


def set_log(config: Config, wal_dir: Optional[Path], wal_sync: Optional[WalSync]) -> None:
    """Sets the options of the log on disk."""
    if wal_dir is not None:
        config.set("set_wal_dir", _arguments.path("wal_dir", wal_dir))
    if wal_sync is not None:
        policy, interval_ms, size = wal_sync
        config.set(
            "set_wal_sync",
            u32("policy", policy),
            _arguments.whole("interval_ms", interval_ms),
            _arguments.whole("bytes", size),
        )


def set_observers(config: Config, handlers: Handlers, host: Host) -> None:
    """Sets the functions that receive events and log records."""
    if handlers.on_event is not None:
        config.set("set_event_handler", _callbacks.event, host.key, NO_FREE)
    if handlers.on_authorize is not None:
        config.set("set_authorize_handler", _callbacks.authorize, host.key, NO_FREE)
    config.set("set_log_handler", handlers.max_level(), _callbacks.log, host.key, NO_FREE)


def optional_path(name: str, value: Optional[Path]) -> Optional[bytes]:
    """Returns a path, or NULL."""
    return None if value is None else _arguments.path(name, value)


def descriptor_of(connection: Union[socket.socket, int]) -> int:
    """Returns the descriptor of a connection, which the host still owns."""
    if hasattr(connection, "unwrap"):
        raise TypeError("a TLS socket cannot be given away, as its state stays in Python: use the option tls")
    fd = connection if isinstance(connection, int) else connection.fileno()
    return max(-1, min(fd, 2**31 - 1))


def given_away(connection: Union[socket.socket, int]) -> None:
    """Detaches a connection whose descriptor the library now owns."""
    if not isinstance(connection, int):
        connection.detach()


def acked_of(status: int, readers: int) -> Acked:
    """Converts a status: OK is enough; TIMEOUT and CLOSED are not enough, so far or finally."""
    if status not in (Status.OK, Status.TIMEOUT, Status.CLOSED):
        check(status)
    return Acked(status == Status.OK, readers)


def read_json(native: Any, call: Any, pointer: int) -> Any:
    """Decodes the JSON that a function returns, and frees it."""
    out = ctypes.c_void_p()
    check(call(pointer, ctypes.byref(out)))
    try:
        return json.loads(ctypes.string_at(out.value or 0))
    finally:
        native.replication_string_free(out)


def read_option(handle: _handle.Handle, call: Any, name: str) -> int:
    """Returns the value of an option that a function reads."""
    value = ctypes.c_uint64()
    with handle as pointer:
        check(call(pointer, _arguments.text("name", name), ctypes.byref(value)))
    return value.value


def read_token(handle: _handle.Handle, call: Any, *arguments: Any) -> bytes:
    """Returns the token that a function gives."""
    token = ctypes.create_string_buffer(TOKEN_MAX_BYTES)
    length = ctypes.c_size_t()
    with handle as pointer:
        check(call(pointer, *arguments, token, TOKEN_MAX_BYTES, ctypes.byref(length)))
    return token.raw[: length.value]
