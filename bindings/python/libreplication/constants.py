"""The numbers of the library that have names. They are part of its ABI and never change; new ones may appear."""

from __future__ import annotations

import enum


class EventKind(enum.IntEnum):
    """What kind of thing happened. ``docs/embedding.md`` has a table of them."""

    CONNECTED = 1
    DISCONNECTED = 2
    REFUSED = 3
    GAP = 4
    REGRESSED = 5
    DIVERGED = 6
    LAGGING = 7
    CUT_OFF = 8
    APPLY_FAILED = 9
    ENTRY_SKIPPED = 10
    HOLE_PASSED = 11
    STOPPED = 12
    PROTOCOL_ERROR = 13
    ENTRY_REFUSED = 14
    EVENTS_LOST = 15
    GATE_CLOSED = 16
    GATE_OPENED = 17
    SLOT_LOST = 18
    SLOT_EXPIRED = 19
    LOG_STALLED = 20
    LOG_RESUMED = 21
    LOG_FAILED = 22
    LOG_RECOVERED = 23
    LOG_TRIMMED = 24
    SLOT_REFUSED = 25
    READER_REWOUND = 26
    DESCRIPTORS_LOW = 27
    LISTEN_INCOMPLETE = 28
    UNPROTECTED = 29


class LogLevel(enum.IntEnum):
    """How much a log record matters."""

    ERROR = 1
    WARN = 2
    INFO = 3
    DEBUG = 4


class AckLevel(enum.IntEnum):
    """How sure a reader is of an entry."""

    RECEIVED = 1
    DURABLE = 2
    APPLIED = 3


class ValueType(enum.IntEnum):
    """What a value of a record is."""

    NIL = 0
    BOOL = 1
    I64 = 2
    U64 = 3
    F64 = 4
    STRING = 5
    BYTES = 6
    ARRAY = 7
    MAP = 8
    EXT = 9


class FullPolicy(enum.IntEnum):
    """What `Sender.replicate` does when the window is full and a connected reader still needs its oldest entries."""

    CUT_OFF_SLOWEST = 0
    REFUSE = 1
    WAIT = 2


class SyncPolicy(enum.IntEnum):
    """When what is written to a log on disk is made durable."""

    ALWAYS = 0
    GROUP = 1
    OS = 2


class GatePolicy(enum.IntEnum):
    """What `Sender.replicate` does while the write gate is shut."""

    REFUSE = 0
    SLOW = 1


class Protocol(enum.IntEnum):
    """Which protocol versions a receiver speaks."""

    AUTO = 0
    V1 = 1
    V2 = 2


class GapPolicy(enum.IntEnum):
    """What a receiver does when the writer's entries have a gap."""

    REFUSE = 0
    CONTINUE = 1


class ApplyPolicy(enum.IntEnum):
    """What a receiver does with an entry that the handler does not take."""

    RETRY = 0
    STOP = 1
    SKIP = 2
