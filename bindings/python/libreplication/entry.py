"""Entries, as passed to handlers."""

from __future__ import annotations

import ctypes
import struct
import threading
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union, cast, overload

from ._raw import EntryStruct

# This process's memory as an array of bytes: a slice of it is copied into a `bytes` in one step, at a third of what
# `ctypes.string_at` costs.
MEMORY: Any = (ctypes.c_char * (2 ** (8 * ctypes.sizeof(ctypes.c_void_p) - 1) - 1)).from_address(0)

_ENTRY = struct.Struct("@QQPN")
_ENTRY_BYTES = ctypes.sizeof(EntryStruct)


class Entry(NamedTuple):
    """An entry of the stream.

    `payload` is a read-only view of a `bytes` object that Python owns. It was copied from the library's memory before
    the handler was called, so an entry and every slice of its payload remain valid after the handler returns.
    """

    sequence: int
    """The entry's sequence; rises from entry to entry."""
    timestamp_us: int
    """Microseconds since the Unix epoch, as set by the writer's host."""
    payload: memoryview
    """The bytes of the payload. Slices of it copy nothing."""

    @property
    def data(self) -> bytes:
        """The payload as `bytes`, without another copy if it came from the library."""
        whole = self.payload.obj
        if type(whole) is bytes and len(whole) == self.payload.nbytes and self.payload.c_contiguous:
            return whole
        return self.payload.tobytes()

    def __reduce__(self) -> Any:
        # A view cannot be pickled, but its bytes can.
        return (_entry_of, (self.sequence, self.timestamp_us, self.data))

    def __repr__(self) -> str:
        return f"Entry(sequence={self.sequence}, timestamp_us={self.timestamp_us}, payload={self.data!r})"


def _entry_of(sequence: int, timestamp_us: int, data: bytes) -> Entry:
    return Entry(sequence, timestamp_us, memoryview(data))


class Batch(Sequence[Entry]):
    """The entries of one call of a batch handler, in order, at least one.

    `len()` and the sequences cost nothing. The first access to an entry copies all entries from the library's memory at
    once, into objects that remain valid. It must happen before the handler returns: a batch whose entries were not
    accessed by then raises `ValueError` afterwards. Take what you need, or ``list(batch)``, in the handler.
    """

    __slots__ = ("_address", "_count", "_entries", "_lock", "_table", "applied")

    applied: int
    """How many of the first entries are applied if the handler raises; 0 unless the handler sets it."""

    def __init__(self, address: int, count: int) -> None:
        self._address = address
        self._count = count
        self._entries: Optional[List[Entry]] = None
        self._table: Optional[bytes] = None
        # Another thread may access the batch while the handler returns.
        self._lock = threading.Lock()
        self.applied = 0

    def __len__(self) -> int:
        return self._count

    @property
    def first_sequence(self) -> int:
        """The sequence of the first entry."""
        return self._field(0, 0)

    @property
    def last_sequence(self) -> int:
        """The sequence of the last entry."""
        return self._field(self._count - 1, 0)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> List[Entry]: ...
    def __getitem__(self, index: Union[int, slice]) -> Union[Entry, List[Entry]]:
        return self._copied()[index]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._copied())

    def __repr__(self) -> str:
        return f"<Batch of {self._count} entries>"

    def _read_table(self) -> bytes:
        """Returns the library's array of entries. Called with the lock held."""
        if self._table is None:
            if not self._address:
                raise ValueError("the batch is over: look into it, or take list(batch), while the handler runs")
            self._table = cast(bytes, MEMORY[self._address : self._address + self._count * _ENTRY_BYTES])
        return self._table

    def _field(self, index: int, field: int) -> int:
        with self._lock:
            values: Tuple[int, ...] = _ENTRY.unpack_from(self._read_table(), index * _ENTRY_BYTES)
            return values[field]

    def _copied(self) -> List[Entry]:
        entries = self._entries
        if entries is None:
            with self._lock:
                entries = self._entries
                if entries is None:
                    if not self._address:
                        raise ValueError("the batch is over: look into it, or take list(batch), while the handler runs")
                    new, memory = tuple.__new__, MEMORY
                    entries = self._entries = [
                        new(Entry, (sequence, timestamp_us, memoryview(memory[payload : payload + length])))
                        for sequence, timestamp_us, payload, length in _ENTRY.iter_unpack(self._read_table())
                    ]
        return entries

    def _end(self) -> None:
        """Ends access to the library's memory, which is about to be freed."""
        with self._lock:
            self._address = 0
