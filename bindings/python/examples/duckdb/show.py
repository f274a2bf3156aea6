#!/usr/bin/env python3
"""What is in the database of a node, to be compared with another's.

show.py DATABASE

Reads every row. Two nodes that say the same have the same rows; the process that has the database open ends first.
"""

from __future__ import annotations

import sys

import duckdb

QUERY = """
SELECT count(*), md5(coalesce(string_agg(row::VARCHAR, ' ' ORDER BY row.id), ''))
FROM (SELECT {table} AS row FROM {table})
"""


def main() -> None:
    with duckdb.connect(sys.argv[1], read_only=True) as database:
        for table in ("account", "transfer", "place"):
            row = database.execute(QUERY.format(table=table)).fetchone()
            assert row is not None
            print(f"{table}: {row[0]} rows, {row[1]}")


main()
