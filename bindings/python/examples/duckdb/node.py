"""What every node does, the writer's included: follow the stream and apply it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import List

from bank import Bank

from libreplication import Batch, Event, EventKind, Receiver, Record, decode_records


class Node:
    """A database that follows a writer. A context manager."""

    def __init__(self, name: str, database: Path, address: str) -> None:
        self.bank = Bank(database)
        self._receiver = Receiver(
            name,
            address,
            batch_handler=self._apply,
            max_entries=256,
            token=self.bank.token(),
            handler_durable=True,  # a COMMIT of DuckDB is on the disk
            reconnect_interval_ms=200,
            on_event=self._report,
        )

    def _apply(self, batch: Batch) -> None:
        records: List[Record] = []
        for entry in batch:
            records += decode_records(entry.data)
        # In a handler the token is of the place after what the handler was called with.
        self.bank.apply(records, self._receiver.token())

    def _report(self, event: Event) -> None:
        if event.kind == EventKind.APPLY_FAILED:
            print(event.message, event.traceback, sep="\n", file=sys.stderr)

    def __enter__(self) -> Node:
        self._receiver.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._receiver.close()
        self.bank.close()

    def wait(self, sequence: int, timeout: float) -> None:
        """Waits until an entry is in the database."""
        self._receiver.wait_sequence(sequence, timeout)
