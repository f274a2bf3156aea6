#!/usr/bin/env python3
"""A sender and a receiver in one process; between two machines only the address differs."""

from libreplication import Entry, Receiver, Sender


def apply(entry: Entry) -> None:
    """Returning means applied; an exception, and the entry comes again."""
    print(f"{entry.sequence}: {entry.data.decode()}")


with Sender() as sender:
    port = sender.listen("127.0.0.1:0")
    with Receiver("reader-1", f"127.0.0.1:{port}", apply) as receiver:
        sender.replicate(b"insert")
        sequence = sender.replicate(b"commit")
        receiver.wait_sequence(sequence, timeout=5)  # read your writes, within 5 s
