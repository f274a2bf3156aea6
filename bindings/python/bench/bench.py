#!/usr/bin/env python3
"""Measures what Python costs on top of C: entries a second from a writer to a reader on this machine, over loopback.

bench.py PEER [--rounds N] [--bytes N] [--scale N]

PEER is the C end (peer.c). Each case runs once in each round, in turns, so that a slower minute of the machine slows
all of them. What is printed is the median of the rounds, and the median of the ratios to C within a round. It fails
unless a Python batch handler that counts gets the promised sixth of what C gets, and decoding records takes at most 4
times what the package msgpack takes by itself.
"""

import argparse
import statistics
import subprocess
import sys
import timeit
from pathlib import Path

import msgpack

from libreplication import decode_records

ENDS = [sys.executable, str(Path(__file__).with_name("ends.py"))]
SHARE = 1 / 6
DECODING = 4


def cases(peer):
    """Each case: its name, the writer's and the reader's command, entries in a round."""
    c_writes, c_reads = [peer, "write"], [peer, "read"]
    return [
        ("C to C, batch handler that counts", c_writes, c_reads, 2_000_000),
        ("C to Python, batch handler that counts", c_writes, [*ENDS, "read", "count"], 2_000_000),
        ("C to Python, batch handler that looks at each", c_writes, [*ENDS, "read", "look"], 1_000_000),
        ("C to Python, handler of single entries", c_writes, [*ENDS, "read", "one"], 200_000),
        ("Python replicate_batch to C", [*ENDS, "write", "batch"], c_reads, 2_000_000),
        ("Python replicate to C", [*ENDS, "write", "one"], c_reads, 200_000),
        ("Python replicate_batch to Python, counts", [*ENDS, "write", "batch"], [*ENDS, "read", "count"], 2_000_000),
    ]


def measure(writer, reader, entries, size):
    """Runs a writer and a reader; returns entries a second at the reader."""
    writing = subprocess.Popen([*writer, str(entries), str(size)], stdout=subprocess.PIPE, text=True)
    try:
        port = writing.stdout.readline().strip()
        command = [*reader, f"127.0.0.1:{port}", str(entries)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=180)
        if writing.wait(60) != 0:
            raise SystemExit("the writer failed")
        return entries / (int(done.stdout) / 1e9)
    finally:
        writing.kill()
        writing.wait()
        writing.stdout.close()


def decoding(rounds):
    """How long it takes to decode a thousand rows, as a multiple of what the package msgpack takes for the objects."""
    rows = [{"id": i, "op": "insert", "table": "orders", "total": i * 7, "name": f"customer {i}"} for i in range(1000)]
    payload = msgpack.packb(rows)

    def ms(call):
        return min(timeit.repeat(call, number=10, repeat=3)) * 100

    ratios = []
    for _ in range(rounds):
        bare, all_of_it = ms(lambda: msgpack.unpackb(payload)), ms(lambda: decode_records(payload))
        ratios.append(all_of_it / bare)
        print(f"  decode_records of 1000 rows {all_of_it:.2f} ms, msgpack.unpackb {bare:.2f} ms", file=sys.stderr)
    return statistics.median(ratios)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peer")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bytes", type=int, default=256, help="of each payload")
    parser.add_argument("--scale", type=float, default=1, help="times as many entries")
    options = parser.parse_args()
    rates = {}
    for number in range(options.rounds):
        for name, writer, reader, entries in cases(options.peer):
            entries = max(1000, int(entries * options.scale) // 1000 * 1000)
            rates.setdefault(name, []).append(measure(writer, reader, entries, options.bytes))
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    base, counting = list(rates)[:2]
    print(f"{options.bytes} B entries over loopback, {options.rounds} rounds, medians")
    for name, measured in rates.items():
        ratio = statistics.median(mine / c for mine, c in zip(measured, rates[base]))
        print(f"  {name:46} {statistics.median(measured):12,.0f} entries/s   {ratio:5.2f} of C")
    share = statistics.median(mine / c for mine, c in zip(rates[counting], rates[base]))
    print(f"bench-python: a batch handler that counts gets {share:.2f} of C; at least {SHARE:.2f} was promised")
    times = decoding(options.rounds)
    print(f"bench-python: decode_records takes {times:.1f} times as long as msgpack; at most {DECODING} was promised")
    return 0 if share >= SHARE and times <= DECODING else 1


sys.exit(main())
