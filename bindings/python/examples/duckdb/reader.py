#!/usr/bin/env python3
"""A reader: follows the writer, and answers SQL meanwhile.

reader.py NAME DATABASE ADDRESS TRANSFERS

Prints the totals as it goes on, and ends when it has TRANSFERS. Started again, it goes on where its database is.
"""

from __future__ import annotations

import sys
from pathlib import Path

from node import Node

from libreplication import errors


def main() -> int:
    name, database, address, transfers = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    with Node(name, database, address) as node:
        arrived = False
        while not arrived:
            try:
                node.wait(transfers, timeout=0.1)
                arrived = True
            except errors.TimedOutError:
                pass
            count, balance = node.bank.totals()
            print(f"{count} transfers, sum of balances {balance}", flush=True)
            if balance != 0:
                print("a query has seen half a transaction", file=sys.stderr)
                return 1
    return 0


sys.exit(main())
