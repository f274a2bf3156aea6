"""The options of sender and receiver, for the classes that pass them on. A test compares them with the constructors."""

from __future__ import annotations

import logging
import socket
from typing import Callable, Mapping, Optional, Sequence, TypedDict, Union

from .constants import ApplyPolicy, FullPolicy, GapPolicy, Protocol
from .entry import Batch, Entry
from .event import Event
from .secret import Secret
from .values import AccessRequest, Path, ReceiverTls, Records, SenderTls, WalSync, WriteGate


class SenderOptions(TypedDict, total=False):
    """The options of `Sender`."""

    buffer_size: Optional[int]
    buffer_bytes: Optional[int]
    full_policy: Optional[FullPolicy]
    full_wait_ms: int
    write_timeout_ms: Optional[int]
    handshake_timeout_ms: Optional[int]
    heartbeat_interval_ms: Optional[int]
    min_heartbeat_ms: Optional[int]
    peer_timeout_ms: Optional[int]
    stop_timeout_ms: Optional[int]
    max_readers: Optional[int]
    max_handshakes: Optional[int]
    max_handshakes_per_address: Optional[int]
    max_handshakes_per_network: Optional[int]
    max_connection_rate_per_address: Optional[int]
    io_threads: Optional[int]
    unix_socket_mode: Optional[int]
    access_rules: Optional[str]
    access_file: Optional[Path]
    trusted_network: Optional[bool]
    secrets: Sequence[Secret]
    plain_secrets_allowed: Optional[bool]
    last_sequence: Optional[int]
    token: Optional[bytes]
    epoch: int
    tls: Optional[SenderTls]
    insecure_permissions_allowed: Optional[bool]
    groups: Optional[Mapping[str, Sequence[str]]]
    write_gate: Optional[WriteGate]
    max_pending_acks: Optional[int]
    wal_dir: Optional[Path]
    wal_sync: Optional[WalSync]
    wal_segment_bytes: Optional[int]
    wal_retain_bytes: Optional[int]
    wal_retain_ms: Optional[int]
    wal_timeout_ms: Optional[int]
    slot_max_bytes: Optional[int]
    slot_expiry_ms: Optional[int]
    on_event: Optional[Callable[[Event], None]]
    on_authorize: Optional[Callable[[AccessRequest], None]]
    logger: Optional[logging.Logger]


class ReceiverOptions(TypedDict, total=False):
    """The options of `Receiver` besides `reader_id`, `writer_addr` and `max_entries`."""

    handler: Optional[Callable[[Entry], None]]
    batch_handler: Optional[Callable[[Batch], None]]
    records: Optional[Callable[[Records], None]]
    last_sequence: Optional[int]
    token: Optional[bytes]
    protocol: Optional[Protocol]
    coordinator_handshake: Optional[bool]
    gap_policy: Optional[GapPolicy]
    apply_policy: Optional[ApplyPolicy]
    apply_retries: int
    handler_durable: Optional[bool]
    reconnect_interval_ms: Optional[int]
    ack_interval_ms: Optional[int]
    connect_timeout_ms: Optional[int]
    heartbeat_interval_ms: Optional[int]
    peer_timeout_ms: Optional[int]
    buffer_bytes: Optional[int]
    max_epoch_jump: Optional[int]
    max_entry_bytes: Optional[int]
    records_max_bytes: Optional[int]
    tls: Optional[ReceiverTls]
    writer_identity: Optional[str]
    secret: Optional[Secret]
    plain_secrets_allowed: Optional[bool]
    insecure_permissions_allowed: Optional[bool]
    local_wal: Optional[Callable[[Entry], None]]
    connect: Optional[Callable[[str], Union[socket.socket, int]]]
    wal_dir: Optional[Path]
    wal_sync: Optional[WalSync]
    wal_segment_bytes: Optional[int]
    wal_retain_bytes: Optional[int]
    wal_retain_ms: Optional[int]
    on_event: Optional[Callable[[Event], None]]
    logger: Optional[logging.Logger]
