#!/usr/bin/env python3
"""The writer: puts transfers into the log, serves readers, and applies its own log to its own database.

writer.py DIRECTORY ADDRESS TRANSFERS

The log is the truth: a transfer has happened when it is in there, and the writer's database follows it like any
reader's. So a crash between the two leaves nothing to repair. It ends when TRANSFERS are in the log and its input is
closed; started again, it goes on where it was.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgpack
from bank import ACCOUNTS
from node import Node

from libreplication import FullPolicy, Sender

AHEAD = 300
"""How many transfers the log may be ahead of this node's own database."""


def transfer(number: int) -> bytes:
    """The entry of a transfer: an array of maps in msgpack, here of one."""
    debit = number * 7 % ACCOUNTS
    record = {
        "id": number,
        "debit": debit,
        "credit": (debit + 1 + number % 5) % ACCOUNTS,
        "amount": number % 97 + 1,
        "note": f"transfer №{number}",
    }
    return bytes(msgpack.packb([record]))


def main() -> None:
    directory, address, transfers = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    directory.mkdir(exist_ok=True)
    with Sender(wal_dir=directory / "log", full_policy=FullPolicy.WAIT, full_wait_ms=5000) as sender:
        sender.listen(address)
        print(f"serving from transfer {sender.current_sequence}", flush=True)
        with Node("writer", directory / "bank.duckdb", address) as node:
            while (number := sender.current_sequence + 1) <= transfers:
                sender.replicate(transfer(number))
                node.wait(max(0, number - AHEAD), timeout=120)
            node.wait(transfers, timeout=120)
            print("{} transfers, sum of balances {}".format(*node.bank.totals()), flush=True)
            sys.stdin.read()


main()
