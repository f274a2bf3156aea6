"""Small types of arguments and results."""

# Annotations are not postponed: tools that read those of a named tuple see types, not names.
import os
from typing import Any, Dict, List, NamedTuple, Optional, Union

from .constants import AckLevel, GatePolicy, SyncPolicy

Path = Union[str, "os.PathLike[str]"]
"""The path of a file or directory."""


class WalSync(NamedTuple):
    """When a log on disk is synced."""

    policy: SyncPolicy
    interval_ms: int = 5
    """For `SyncPolicy.GROUP`: the most milliseconds between syncs."""
    bytes: int = 1 << 20
    """For `SyncPolicy.GROUP`: the most bytes between syncs."""


class AccessRequest(NamedTuple):
    """A connection that asks to follow, about which the host decides with `Sender.authorize` or `Sender.refuse`."""

    ticket: int
    """What the answer names it by."""
    reader_id: str
    """The id that the reader claims."""
    address: str
    """The peer's address."""
    identity: str
    """Who the peer is, as far as the connection proves it, or ``none``."""
    stream_id: Optional[bytes]
    """The stream that the reader's position belongs to, 16 bytes; None if it names none."""
    epoch: int
    """The latest epoch that the reader has seen; 0 if it names none."""
    sequence: int
    """The last entry that the reader has."""
    rights: int
    """What it may have at most: the sum of its `Right` values."""
    tls: bool
    """Whether the connection is encrypted."""
    handed: bool
    """Whether the host handed it over."""


class WriteGate(NamedTuple):
    """When a sender accepts entries: while at least `min_readers` connected readers are within a lag."""

    min_readers: int
    max_lag_entries: int = 0
    """How many of the last entries a reader may not have acknowledged; 0: any number."""
    max_lag_ms: int = 0
    """How many milliseconds an entry may stay unacknowledged; 0: any time."""
    level: AckLevel = AckLevel.APPLIED
    """What counts as acknowledged."""
    policy: GatePolicy = GatePolicy.REFUSE
    max_wait_ms: int = 0
    """How many milliseconds `GatePolicy.SLOW` waits."""


class SenderTls(NamedTuple):
    """The PEM files for TLS 1.3, or the PEM itself in their place."""

    certificate_chain_file: Path
    private_key_file: Path
    client_ca_file: Optional[Path] = None
    """Readers need a certificate of one of these authorities; None: they need none."""
    crl_file: Optional[Path] = None
    """Revocation lists, one of each authority; None: nothing is revoked."""


class Acked(NamedTuple):
    """How many readers have acknowledged an entry, and whether that is enough."""

    enough: bool
    readers: int


class ReceiverTls(NamedTuple):
    """The PEM files for TLS 1.3, or the PEM itself in their place, and the name of the writer."""

    ca_file: Path
    """The writer must have a certificate of one of these authorities."""
    server_name: Optional[str] = None
    """The name in the writer's certificate; None: the host in the writer's address."""
    certificate_chain_file: Optional[Path] = None
    private_key_file: Optional[Path] = None


Record = Dict[Any, Any]
"""A record of a payload, which is a map."""


class Records(NamedTuple):
    """An entry with its payload, an array of maps, decoded."""

    sequence: int
    timestamp_us: int
    records: List[Record]


class ExtType(NamedTuple):
    """A value of an application-defined type. Equal to msgpack's class of that name."""

    code: int
    data: bytes
