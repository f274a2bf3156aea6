"""The database of a node: accounts, transfers, and the place up to which the stream is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional, Tuple

import duckdb

from libreplication import Record

ACCOUNTS = 50

SCHEMA = """
CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, balance BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS transfer (id BIGINT PRIMARY KEY, debit INTEGER, credit INTEGER, amount BIGINT, note VARCHAR);
CREATE TABLE IF NOT EXISTS place (id INTEGER PRIMARY KEY, token BLOB NOT NULL);
"""


class Bank:
    """A DuckDB database that is changed by the stream only."""

    def __init__(self, path: Path) -> None:
        self._database = duckdb.connect(str(path))
        self._database.execute(SCHEMA)
        self._database.execute(f"INSERT OR IGNORE INTO account SELECT n, 0 FROM range({ACCOUNTS}) AS numbers(n)")

    def close(self) -> None:
        """Closes the database."""
        self._database.close()

    def token(self) -> Optional[bytes]:
        """The place after what is in the database; None when nothing is."""
        row = self._database.execute("SELECT token FROM place").fetchone()
        return None if row is None else row[0]

    def apply(self, records: List[Record], token: bytes) -> None:
        """Makes transfers and notes the place after them, in one transaction: a crash leaves both there, or neither.

        That the transfers come once is up to the place: a balance that is changed twice is wrong, and so is an id that
        comes twice.
        """
        sums: Dict[int, int] = {}
        for record in records:
            sums[record["debit"]] = sums.get(record["debit"], 0) - record["amount"]
            sums[record["credit"]] = sums.get(record["credit"], 0) + record["amount"]
        columns = ("id", "debit", "credit", "amount", "note")
        self._database.execute("BEGIN")
        try:
            self._database.executemany(
                "INSERT INTO transfer VALUES (?, ?, ?, ?, ?)",
                [[record[column] for column in columns] for record in records],
            )
            self._database.executemany(
                "UPDATE account SET balance = balance + ? WHERE id = ?",
                [[amount, account] for account, amount in sums.items()],
            )
            self._database.execute("INSERT OR REPLACE INTO place VALUES (1, ?)", [token])
            self._database.execute("COMMIT")
        except BaseException:
            self._database.execute("ROLLBACK")
            raise

    def totals(self) -> Tuple[int, int]:
        """How many transfers there are, and the sum of all balances, which is 0 at any moment that a query can see."""
        query = "SELECT (SELECT count(*) FROM transfer), (SELECT sum(balance)::BIGINT FROM account)"
        # A cursor of its own: queries run while the stream is applied.
        with self._database.cursor() as cursor:
            row = cursor.execute(query).fetchone()
        assert row is not None
        return row[0], row[1]
