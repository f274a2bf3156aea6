"""The Python end of the benchmark.

ends.py write HOW ENTRIES BYTES         HOW: batch, one
ends.py read HOW ADDRESS ENTRIES        HOW: count, look, one
"""

import sys
import time

import libreplication as r


def write(how, entries, size):
    payload = bytes(size)
    with r.Sender(full_policy=r.FullPolicy.WAIT, full_wait_ms=60_000, buffer_size=1_000_000) as sender:
        print(sender.listen("127.0.0.1:0"), flush=True)
        while sender.reader_count == 0:
            time.sleep(0.001)
        if how == "batch":
            batch = [payload] * 1000
            for _ in range(0, entries, len(batch)):
                sender.replicate_batch(batch, timestamp_us=0)
        else:
            replicate = sender.replicate
            for _ in range(entries):
                replicate(payload, 0)
        sender.wait_acked(entries, timeout=60)


def read(how, address, entries):
    times = []
    seen = 0

    def count(batch):
        """As many entries a second as the interpreter can be told of."""
        nonlocal seen
        if not seen:
            times.append(time.monotonic_ns())
        seen += len(batch)
        if seen == entries:
            times.append(time.monotonic_ns())

    def look(batch):
        """The same, with every entry and its payload as objects."""
        nonlocal seen
        if not seen:
            times.append(time.monotonic_ns())
        for _sequence, _timestamp_us, payload in batch:
            seen += payload.nbytes > 0
        if seen == entries:
            times.append(time.monotonic_ns())

    def one(entry):
        nonlocal seen
        if not seen:
            times.append(time.monotonic_ns())
        seen += 1
        if seen == entries:
            times.append(time.monotonic_ns())

    handler = {"handler": one} if how == "one" else {"batch_handler": {"count": count, "look": look}[how]}
    with r.Receiver("reader", address, **handler) as receiver:
        receiver.wait_sequence(entries, timeout=120)
    print(times[1] - times[0])


command, how, *arguments = sys.argv[1:]
if command == "write":
    write(how, int(arguments[0]), int(arguments[1]))
else:
    read(how, arguments[0], int(arguments[1]))
