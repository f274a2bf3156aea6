"""The examples as a user runs them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import duckdb
import pytest
from conftest import ROOT, wait_until

EXAMPLES = ROOT / "bindings/python/examples"
TRANSFERS = 2500


def test_quickstart():
    done = subprocess.run(
        [sys.executable, EXAMPLES / "quickstart.py"], capture_output=True, text=True, check=True, timeout=30
    )
    assert (done.stdout, done.stderr) == ("1: insert\n2: commit\n", "")


class Bank:
    """The processes of the bank."""

    def __init__(self, directory):
        self.directory = directory
        self.address = f"unix:{directory}/socket"
        self.processes = []

    def start(self, program, *arguments):
        output = open(self.directory / f"{len(self.processes)}.out", "w+")
        process = subprocess.Popen(
            [sys.executable, EXAMPLES / "duckdb" / program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        process.output = output
        self.processes.append(process)
        return process

    def writer(self):
        process = self.start("writer.py", self.directory / "writer", self.address, TRANSFERS)
        wait_until(lambda: "serving" in self.said(process) or process.poll() is not None)
        assert process.poll() is None, self.said(process)
        return process

    def reader(self, name):
        return self.start("reader.py", name, self.directory / f"{name}.duckdb", self.address, TRANSFERS)

    def said(self, process):
        return (self.directory / os.path.basename(process.output.name)).read_text()

    def count(self, process):
        """How many transfers it last told of."""
        counts = re.findall(r"^(\d+) transfers", self.said(process), re.M)
        return int(counts[-1]) if counts else 0

    def kill(self, process):
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, self.said(process)

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()
            process.stdin.close()
            process.output.close()


@pytest.mark.timeout(120)
def test_duckdb_nodes_are_equal_though_writer_and_reader_are_killed(tmp_path):
    bank = Bank(tmp_path)
    try:
        writer = bank.writer()
        east, west = bank.reader("east"), bank.reader("west")
        wait_until(lambda: bank.count(east) > 300, "the stream")
        bank.kill(east)
        assert bank.count(east) < TRANSFERS
        bank.kill(writer)
        east, writer = bank.reader("east"), bank.writer()
        begun = int(re.search(r"serving from transfer (\d+)", bank.said(writer))[1])
        assert 300 < begun < TRANSFERS, "the writer goes on with its log"
        wait_until(lambda: bank.count(east) > begun or east.poll() is not None, "the stream goes on")
        bank.kill(writer)
        writer = bank.writer()
        for reader in (east, west):
            assert reader.wait(90) == 0, bank.said(reader)
        wait_until(lambda: f"{TRANSFERS} transfers" in bank.said(writer))
        writer.stdin.close()
        assert writer.wait(30) == 0, bank.said(writer)
    finally:
        bank.close()
    compare(tmp_path / "writer/bank.duckdb", tmp_path / "east.duckdb", tmp_path / "west.duckdb")


@pytest.mark.timeout(120)
def test_duckdb_does_what_its_readme_says(tmp_path):
    readme = (EXAMPLES / "duckdb/README.md").read_text().replace("/tmp/", f"{tmp_path}/")
    setting, programs, comparison = re.findall(r"^```sh\n(.*?)^```$", readme, re.M | re.S)
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "LIBREPLICATION_LIB")}

    def terminal(command):
        return subprocess.Popen(
            ["bash", "-euc", f"{setting}exec {command}"],
            cwd=ROOT,
            env={**environment, "PATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    writer, *readers = (terminal(command) for command in programs.splitlines())
    try:
        for reader in readers:
            assert re.search(r"^2000 transfers, sum of balances 0$", reader.communicate(timeout=90)[0], re.M)
            assert reader.returncode == 0
        assert writer.communicate(timeout=30)[0].endswith("2000 transfers, sum of balances 0\n")
        assert writer.returncode == 0
    finally:
        for process in (writer, *readers):
            process.kill()
            process.communicate()
    scans = {terminal(command).communicate(timeout=30)[0] for command in comparison.splitlines()}
    assert len(scans) == 1 and "transfer: 2000 rows" in scans.pop()


def compare(writer, *readers):
    """All nodes have the same rows, those that the transfers add up to."""
    database = duckdb.connect()
    database.execute(f"ATTACH '{writer}' AS writer (READ_ONLY)")
    for number, reader in enumerate(readers):
        database.execute(f"ATTACH '{reader}' AS reader{number} (READ_ONLY)")
        for table in ("account", "transfer", "place"):
            for one, other in ((f"reader{number}", "writer"), ("writer", f"reader{number}")):
                rows = database.execute(
                    f"SELECT * FROM {one}.{table} EXCEPT ALL SELECT * FROM {other}.{table}"
                ).fetchall()
                assert rows == [], f"{one} has rows of {table} that {other} has not"
    span = database.execute("SELECT count(*), min(id), max(id) FROM writer.transfer").fetchone()
    assert span == (TRANSFERS, 1, TRANSFERS)
    wrong = database.execute("""
        SELECT id, balance FROM writer.account
        EXCEPT ALL
        SELECT a.id, coalesce((SELECT sum(amount) FROM writer.transfer t WHERE t.credit = a.id), 0)
                   - coalesce((SELECT sum(amount) FROM writer.transfer t WHERE t.debit = a.id), 0)
        FROM writer.account a""").fetchall()
    assert wrong == [], "balances that are not the sum of their transfers"
    database.close()
