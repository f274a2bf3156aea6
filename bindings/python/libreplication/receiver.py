"""The reader's end."""

from __future__ import annotations

import logging
import socket
import warnings
from typing import Any, Callable, Dict, Optional, Tuple, Union

from . import _arguments, _callbacks, _handle
from . import records as _records
from ._callbacks import Handlers, Host
from ._handle import Config, check
from ._native import library
from .constants import ApplyPolicy, GapPolicy, Protocol
from .entry import Batch, Entry
from .errors import InvalidArgumentError, LineageChangedError
from .event import Event
from .secret import Secret, pointer_of
from .sender import (
    NO_FREE,
    optional_path,
    read_json,
    read_option,
    read_token,
    set_log,
    set_numbers,
    set_observers,
    u32,
)
from .values import Path, ReceiverTls, Records, WalSync


class Receiver:
    """Follows one writer and passes its entries, in order, to a handler.

    It is a context manager: entering starts the receiver, leaving closes it. Any thread may call any method at any
    time. Options that are left out have the library's defaults. Each option calls the setter of the same name in
    ``include/replication.h``, which documents it.

    An entry is applied when the handler returns, whatever it returns. If the handler raises, the entry is delivered
    again as `apply_policy` specifies, and the event `EventKind.APPLY_FAILED` has the traceback. Handlers, `on_event`
    and the logger are called on one thread of the receiver, one call at a time.
    """

    def __init__(
        self,
        reader_id: str,
        writer_addr: str,
        handler: Optional[Callable[[Entry], None]] = None,
        *,
        batch_handler: Optional[Callable[[Batch], None]] = None,
        records: Optional[Callable[[Records], None]] = None,
        max_entries: int = 0,
        last_sequence: Optional[int] = None,
        token: Optional[bytes] = None,
        protocol: Optional[Protocol] = None,
        coordinator_handshake: Optional[bool] = None,
        gap_policy: Optional[GapPolicy] = None,
        apply_policy: Optional[ApplyPolicy] = None,
        apply_retries: int = 0,
        handler_durable: Optional[bool] = None,
        reconnect_interval_ms: Optional[int] = None,
        ack_interval_ms: Optional[int] = None,
        connect_timeout_ms: Optional[int] = None,
        heartbeat_interval_ms: Optional[int] = None,
        peer_timeout_ms: Optional[int] = None,
        buffer_bytes: Optional[int] = None,
        max_epoch_jump: Optional[int] = None,
        max_entry_bytes: Optional[int] = None,
        records_max_bytes: Optional[int] = None,
        tls: Optional[ReceiverTls] = None,
        writer_identity: Optional[str] = None,
        secret: Optional[Secret] = None,
        plain_secrets_allowed: Optional[bool] = None,
        insecure_permissions_allowed: Optional[bool] = None,
        local_wal: Optional[Callable[[Entry], None]] = None,
        connect: Optional[Callable[[str], Union[socket.socket, int]]] = None,
        wal_dir: Optional[Path] = None,
        wal_sync: Optional[WalSync] = None,
        wal_segment_bytes: Optional[int] = None,
        wal_retain_bytes: Optional[int] = None,
        wal_retain_ms: Optional[int] = None,
        on_event: Optional[Callable[[Event], None]] = None,
        logger: Optional[logging.Logger] = None,
    ) -> None:
        """Creates a receiver, which `start` starts, with one of three kinds of handler:

        - `handler` receives each `Entry`;
        - `batch_handler` receives a `Batch` of at most `max_entries` entries (0: 1024), and never waits for more;
        - `records` receives each entry, whose payload must be a msgpack array of maps, as `Records`.

        `local_wal` receives each entry before the handler does. `connect` receives the writer's address and returns a
        connected socket. `on_event` is called with each `Event`. Log records go to `logger`, by default
        ``logging.getLogger("libreplication.receiver")``.
        """
        kinds = {"handler": handler, "batch_handler": batch_handler, "records": records}
        given = [(kind, _arguments.handler(kind, value)) for kind, value in kinds.items() if value is not None]
        if len(given) != 1:
            raise InvalidArgumentError("a receiver has exactly one of handler, batch_handler and records")
        with Config("receiver") as config:
            config.set("set_reader_id", _arguments.text("reader_id", reader_id))
            config.set("set_writer_addr", _arguments.text("writer_addr", writer_addr))
            numbers = {
                "last_sequence": last_sequence,
                "reconnect_interval_ms": reconnect_interval_ms,
                "ack_interval_ms": ack_interval_ms,
                "connect_timeout_ms": connect_timeout_ms,
                "heartbeat_interval_ms": heartbeat_interval_ms,
                "peer_timeout_ms": peer_timeout_ms,
                "buffer_bytes": buffer_bytes,
                "max_epoch_jump": max_epoch_jump,
                "max_entry_bytes": max_entry_bytes,
                "records_max_bytes": records_max_bytes,
                "wal_segment_bytes": wal_segment_bytes,
                "wal_retain_bytes": wal_retain_bytes,
                "wal_retain_ms": wal_retain_ms,
            }
            set_numbers(config, numbers, _arguments.whole)
            set_numbers(config, {"protocol": protocol, "gap_policy": gap_policy}, u32)
            if token is not None:
                known = _arguments.octets("token", token)
                config.set("set_token", known, len(known))
            if coordinator_handshake is not None:
                config.set("set_coordinator_handshake", bool(coordinator_handshake))
            if apply_policy is not None:
                config.set("set_apply_policy", u32("apply_policy", apply_policy), u32("apply_retries", apply_retries))
            if handler_durable is not None:
                config.set("set_handler_durable", bool(handler_durable))
            if writer_identity is not None:
                config.set("set_writer_identity", _arguments.text("writer_identity", writer_identity))
            if secret is not None:
                config.set("set_secret", pointer_of("secret", secret))
            if plain_secrets_allowed is not None:
                config.set("set_plain_secrets_allowed", bool(plain_secrets_allowed))
            if insecure_permissions_allowed is not None:
                # Set before the options that depend on it.
                config.set("set_insecure_permissions_allowed", bool(insecure_permissions_allowed))
            if tls is not None:
                config.set("set_tls", *tls_files(tls))
            set_log(config, wal_dir, wal_sync)
            observer = None if on_event is None else _arguments.handler("on_event", on_event)
            self._handlers = handlers = Handlers("receiver", logger, observer)
            host = Host(handlers)
            try:
                set_observers(config, handlers, host)
                kind, call = given[0]
                if kind == "records":
                    call = _records.handler_of(call, records_max_bytes)
                _set_handler(config, handlers, host, kind, call, _arguments.count("max_entries", max_entries))
                if local_wal is not None:
                    handlers.local_wal = _arguments.handler("local_wal", local_wal)
                    config.set("set_local_wal", _callbacks.local_wal, host.key, NO_FREE)
                if connect is not None:
                    handlers.connect = _arguments.handler("connect", connect)
                    config.set("set_connect_handler", _callbacks.connect, host.key, NO_FREE)
                self._handle = _handle.make("receiver", config, host)
            except BaseException:
                _callbacks.forget(host)
                raise
        self._library = library()
        self._started = False

    # ---- life ----

    def start(self) -> None:
        """Starts the receiver. It connects, and reconnects, in the background and reports this as events."""
        with self._handle as pointer:
            check(self._library.receiver_start(pointer))
        self._started = True

    def stop(self) -> None:
        """Disconnects and waits for a running handler. Statistics remain available."""

        def stop() -> None:
            with self._handle as pointer:
                self._handle.interrupt()
                check(self._library.receiver_stop(pointer))

        _arguments.interruptible(stop)

    def close(self) -> None:
        """Stops the receiver if it runs, and frees it. May be called in any state, from any thread, and repeatedly.

        On return no callback runs. In a callback of this receiver it returns at once, and another thread closes it.
        """
        self._handle.close()

    @property
    def closed(self) -> bool:
        """Whether the receiver was closed."""
        return self._handle.closed

    def __enter__(self) -> Receiver:
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
        raise TypeError("a Receiver cannot be pickled or sent to another process: make it in the process that uses it")

    # ---- where it stands ----

    @property
    def connected(self) -> bool:
        """Whether a connection is established, handshake included."""
        with self._handle as pointer:
            return bool(self._library.receiver_is_connected(pointer))

    @property
    def last_sequence(self) -> int:
        """The last applied sequence."""
        with self._handle as pointer:
            return int(self._library.receiver_last_sequence(pointer))

    def token(self) -> bytes:
        """Returns the token of the receiver's position; in a handler, the position after the entries of the call.

        Store it in the same transaction. Raises `NotFoundError` while the stream is unknown.
        """
        return read_token(self._handle, self._library.receiver_token)

    def batch_token(self, applied: int) -> bytes:
        """In a batch handler: returns the token of the position after the first `applied` entries of the batch.

        A handler that commits a part of a batch stores it with that part, and sets `Batch.applied`.
        """
        count = _arguments.count("applied", applied)
        return read_token(self._handle, self._library.receiver_batch_token, count)

    def set_tls(self, tls: ReceiverTls) -> None:
        """Replaces the certificates of a receiver that has TLS, for its next connection."""
        files = tls_files(tls)
        with self._handle as pointer:
            check(self._library.receiver_set_tls(pointer, *files))

    def reload_tls(self) -> None:
        """Reads the files of the certificates again, for the next connection."""
        with self._handle as pointer:
            check(self._library.receiver_reload_tls(pointer))

    def set_secret(self, secret: Optional[Secret]) -> None:
        """Replaces the secret, for the next connection; None means none."""
        with self._handle as pointer:
            check(self._library.receiver_set_secret(pointer, pointer_of("secret", secret)))

    def set_option(self, name: str, value: int) -> None:
        """Changes an option of a receiver that lives, by its name in ``docs/options.md``."""
        with self._handle as pointer:
            check(
                self._library.receiver_set_option(
                    pointer, _arguments.text("name", name), _arguments.whole("value", value)
                )
            )

    def option(self, name: str) -> int:
        """Returns the value of an option that `set_option` takes."""
        return read_option(self._handle, self._library.receiver_option, name)

    def stats(self) -> Dict[str, Any]:
        """Returns the statistics. ``docs/embedding.md`` lists the keys."""
        with self._handle as pointer:
            stats: Dict[str, Any] = read_json(self._library, self._library.receiver_stats_json, pointer)
            return stats

    # ---- control ----

    def wait_sequence(self, sequence: int, timeout: Optional[float] = None) -> None:
        """Waits until an entry is applied, to read what was written. `timeout` is in seconds; None: no limit."""
        self._wait(sequence, timeout, None)

    def wait_token(self, token: bytes, timeout: Optional[float] = None) -> None:
        """Waits until the entry of a token is applied, to read here what was written at the writer.

        `timeout` is in seconds; None: no limit. Raises `LostError` if another entry took its place at a fail-over or it
        is of another stream, and `LineageChangedError` if that is no longer known.
        """
        self._wait_token(token, timeout, None)

    def _wait_token(self, token: bytes, timeout: Optional[float], goes_on: Optional[Callable[[], bool]]) -> None:
        known = _arguments.octets("token", token)
        with self._handle as pointer:
            _arguments.wait(
                lambda ms: int(self._library.receiver_wait_token(pointer, known, len(known), ms)), timeout, goes_on
            )

    def pause(self) -> None:
        """Passes no more entries to the handler. On return no handler runs, unless it made the call."""

        def pause() -> None:
            with self._handle as pointer:
                check(self._library.receiver_pause(pointer))

        _arguments.interruptible(pause)

    def resume(self) -> None:
        """Ends a pause."""
        with self._handle as pointer:
            check(self._library.receiver_resume(pointer))

    def _wait(self, sequence: int, timeout: Optional[float], goes_on: Optional[Callable[[], bool]]) -> None:
        number = _arguments.whole("sequence", sequence)
        followed = self._lineage()
        with self._handle as pointer:

            def call(ms: int) -> int:
                status = int(self._library.receiver_wait_sequence(pointer, number, ms))
                # The library checks during each of its waits; this checks between them.
                if followed is not None and self._lineage() != followed:
                    raise LineageChangedError("another writer took over during the wait")
                return status

            _arguments.wait(call, timeout, goes_on)

    def _lineage(self) -> Optional[Tuple[str, int]]:
        """Returns the stream and epoch that are followed, if they are known."""
        stats = self.stats()
        return None if stats["stream_id"] is None else (stats["stream_id"], stats["epoch"])


def _set_handler(config: Config, handlers: Handlers, host: Host, kind: str, handler: Any, max_entries: int) -> None:
    handlers.handler = handler
    if kind == "batch_handler":
        config.set("set_ingest_batch_handler", max_entries, _callbacks.ingest_batch, host.key, NO_FREE)
    else:
        config.set("set_ingest_handler", _callbacks.ingest, host.key, NO_FREE)


def tls_files(tls: ReceiverTls) -> Tuple[Optional[bytes], ...]:
    """Returns the arguments of receiver_config_set_tls()."""
    return (
        _arguments.path("ca_file", tls.ca_file),
        None if tls.server_name is None else _arguments.text("server_name", tls.server_name),
        optional_path("certificate_chain_file", tls.certificate_chain_file),
        optional_path("private_key_file", tls.private_key_file),
    )
