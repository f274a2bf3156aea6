#!/usr/bin/env python3
"""The commands of the documents, run as printed.

    tests/documents.py [--build BUILD] DOCUMENT...   runs the commands of these
    tests/documents.py --check                       every command of every document is run by some test

A command is a line of a block in `sh`, an indented line, or a line of a block that begins with `$ `. Each document that
has some is named in SESSIONS, where a function runs all of them, in ELSEWHERE, with the test that reads the document,
or in MAKE, when its commands are goals of the Makefile and programs of the tree that run for long: those are looked up.

Documents name fixed ports and /tmp; a session has a directory of its own in their place.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 60


def commands(document: str) -> list[str]:
    """The lines of a document that a reader is to type, without comments."""
    lines, language = [], None
    after_blank = False
    for line in (ROOT / document).read_text().splitlines():
        fence = re.match(r"\s*```(\w*)", line)
        if fence:
            language = None if language is not None else fence.group(1)
        elif language == "sh" or (language is None and after_blank and re.match(r" {4}\S", line)):
            lines.append(line.strip())
        elif language is not None and line.startswith("$ "):
            lines.append(line[2:])
        after_blank = not line.strip() or (after_blank and line.startswith("    "))
    without_comments = (re.sub(r"\s+# .*", "", line) for line in lines)
    return [line for line in without_comments if line]


class Program:
    """A command that runs on, and what it has printed."""

    def __init__(self, session: Session, command: str) -> None:
        self.command, self.printed = command, ""
        self.process = subprocess.Popen(
            ["bash", "-euc", f"exec {command}"],
            cwd=session.place,
            env=session.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.reading = threading.Thread(target=self._read, daemon=True)
        self.reading.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.printed += line

    def prints(self, text: str) -> None:
        until(lambda: text in self.printed, lambda: f"{self.command}: no {text!r} in\n{self.printed}")

    def type(self, line: str) -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ends(self, number: int | None = None) -> str:
        """Sends a signal, if one is given, and returns all that was printed."""
        if number is not None:
            self.process.send_signal(number)
        status = self.process.wait(PATIENCE_S)
        self.reading.join(PATIENCE_S)
        assert status == 0, f"{self.command}: exit status {status}\n{self.printed}"
        return self.printed


class Session:
    """A document's commands, and a place to run them in that looks like the project's directory."""

    def __init__(self, document: str, build: Path, place: Path) -> None:
        self.place, self.programs = place, []
        for entry in ROOT.iterdir():
            if entry.name not in ("build", ".git"):
                (place / entry.name).symlink_to(entry)
        (place / "build").symlink_to(build)
        self.own = place / "own"
        self.own.mkdir()
        self.address = f"unix:{self.own}/socket"
        self.environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        self.commands = [self.here(command) for command in commands(document)]

    def here(self, command: str) -> str:
        command = command.replace("/tmp/", f"{self.own}/")
        return re.sub(r"127\.0\.0\.1:94\d\d", self.address, command)

    def start(self, command: str) -> Program:
        program = Program(self, command)
        self.programs.append(program)
        return program

    def run(self, *lines: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", "\n".join(lines)],
            cwd=self.place,
            env=self.environment,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=10 * PATIENCE_S,
        )
        assert done.returncode == 0, f"{lines}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def close(self) -> None:
        for program in self.programs:
            program.process.kill()
            program.process.wait()


def until(condition, what) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


def examples_c(session: Session) -> None:
    write, read, tap, query, count, ledger = session.commands
    writer = session.start(write)
    writer.prints('"listening"')
    reader = session.start(read)
    assert len(session.run(tap).splitlines()) == 3
    until(lambda: len(session.run(query).splitlines()) == 3, lambda: f"{query}: not three samples")
    writer.ends(signal.SIGINT)
    written = json.loads(session.run(count))
    wanted = f"entries|records|checksum\n{written['entries']}|{written['records']}|{written['checksum']}\n"
    until(lambda: session.run(ledger) == wanted, lambda: f"the reader has {session.run(ledger)}, the writer {wanted}")
    reader.ends(signal.SIGINT)


def sqlite_session(session: Session) -> None:
    write, read, *transactions = session.commands
    # Its own default is the port that the reader's command names.
    writer, reader = session.start(f"{write} --listen {session.address}"), session.start(read)
    for number, transaction in enumerate(transactions, 1):
        writer.type(transaction)
        writer.prints(f"committed {number}")
    # Quoted, because a random blob may have a line break in it.
    tables = "SELECT * FROM customer; SELECT * FROM product; SELECT * FROM purchase"
    content = "sqlite3 -quote {} " + shlex.quote(tables)
    wanted = session.run(content.format("main.db"))
    assert len(wanted.splitlines()) == 3, wanted
    until(lambda: session.run(f"{content.format('copy.db')} || true") == wanted, lambda: "the copy differs")
    writer.ends(signal.SIGINT)
    reader.ends(signal.SIGINT)


def rocksdb(session: Session) -> None:
    write, read, dump = session.commands
    writer, reader = session.start(write), session.start(read)
    writer.prints("committed")
    until(lambda: session.run(dump), lambda: "nothing is in the reader's database")
    writer.ends(signal.SIGINT)
    reader.ends(signal.SIGINT)


def bbolt(session: Session) -> None:
    session.place = session.place / "bindings/go/examples"
    export, build, write, *others = session.commands
    session.environment["REPLICATION_LIB"] = session.run(export, 'echo "$REPLICATION_LIB"').strip()
    session.run(build)
    # In place of the port that is the default of both.
    writer = session.start(f"{write} -listen {session.address}")
    readers = [session.start(f"{read} -writer {session.address}") for read in others if " reader " in read]
    writer.ends()
    for reader in readers:
        reader.ends(signal.SIGINT)
    scans = [session.run(command) for command in others if " show " in command]
    assert len(scans) == 2 and scans[0] == scans[1] != "", scans


def go_quickstart(session: Session) -> None:
    session.place = session.place / "bindings/go/examples"
    assert session.run(*session.commands) == "1: insert\n2: commit\n"


def python_quickstart(session: Session) -> None:
    assert session.run(*session.commands) == "1: insert\n2: commit\n"


def installing(session: Session) -> None:
    """Into a directory: `sudo` and `ldconfig` are stood in for, and DESTDIR is what packagers set."""
    for name, text in (("sudo", 'exec "$@"'), ("ldconfig", "")):
        program = session.own / name
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    session.environment |= {"PATH": f"{session.own}:{os.environ['PATH']}", "DESTDIR": str(session.own / "root")}
    session.environment.pop("MAKEFLAGS", None)
    session.environment["SETUP"] = "no"
    session.place = ROOT
    session.run(*session.commands)
    installed = session.own / "root/usr/local"
    assert (installed / "lib/libreplication.so").exists() and (installed / "bin/replctl").exists()


SESSIONS = {
    "examples-c/README.md": examples_c,
    "examples-c/sqlite-session/README.md": sqlite_session,
    "bindings/cpp/examples/rocksdb/README.md": rocksdb,
    "bindings/go/examples/README.md": go_quickstart,
    "bindings/go/examples/bbolt/README.md": bbolt,
    "bindings/python/examples/README.md": python_quickstart,
    "docs/packaging.md": installing,
}

ELSEWHERE = {
    "docs/access.md": "tests/it/replctl/access.rs",
    "CONTRIBUTING.md": "scripts/check-docs",
    "README.md": "tests/readme.sh",
    "bindings/python/examples/duckdb/README.md": "bindings/python/tests/test_examples.py",
    "docs/c.md": "tests/packages/run",
    "docs/cpp.md": "bindings/cpp/tests/page.sh",
    "docs/durability.md": "tests/readme.sh",
    "docs/go.md": "bindings/go/docs_test.go",
    "docs/python.md": "bindings/python/tests/test_docs.py",
    "docs/replctl.md": "tests/it/replctl/document.rs",
}

MAKE = ["benches/README.md", "docs/benchmarks.md", "docs/testing.md", "fuzz/README.md"]


def looked_up(command: str) -> str | None:
    """What is wrong with a command that runs for long."""
    program, *arguments = shlex.split(command.split(" > ")[0])
    if program != "make":
        built = program.startswith("build/bin/")
        return None if built or os.access(ROOT / program, os.X_OK) else f"there is no {program}"
    goals = [argument for argument in arguments if "=" not in argument]
    makefiles = [ROOT / "Makefile", *ROOT.glob("*/module.mk"), *ROOT.glob("*/*/module.mk")]
    text = "".join(path.read_text() for path in makefiles)
    missing = [goal for goal in goals if not re.search(rf"^{re.escape(goal)}\b[^=]*:(?!=)", text, re.M)]
    return f"there is no goal {missing}" if missing else None


def check() -> None:
    listed = subprocess.check_output(["git", "ls-files", "*.md"], cwd=ROOT, text=True).splitlines()
    wrong, count = [], 0
    for document in listed:
        found = commands(document)
        count += len(found)
        if document in MAKE:
            wrong += [f"{document}: {command}: {why}" for command in found if (why := looked_up(command))]
        elif found and document in ELSEWHERE:
            test = (ROOT / ELSEWHERE[document]).read_text()
            if document.split("/")[-1] not in test:
                wrong.append(f"{ELSEWHERE[document]} does not read {document}")
        elif found and document not in SESSIONS:
            wrong.append(f"{document}: no test runs: {found}")
    known = {*SESSIONS, *ELSEWHERE, *MAKE}
    wrong += [f"{document} has no command" for document in known if document not in listed or not commands(document)]
    if wrong:
        sys.exit("documents: " + "\ndocuments: ".join(wrong))
    print(f"documents: {count} commands in {len(known)} documents are run by tests")


def main() -> None:
    arguments = argparse.ArgumentParser(description="Runs the commands of documents as printed.")
    arguments.add_argument("--build", type=Path, default=ROOT / "build", help="what build/ is, if not the project's")
    arguments.add_argument("--check", action="store_true", help="every command of every document is run by a test")
    arguments.add_argument("documents", nargs="*", choices=[[], *SESSIONS], metavar="DOCUMENT")
    given = arguments.parse_args()
    if given.check:
        check()
    for document in given.documents:
        with tempfile.TemporaryDirectory(prefix="replication-") as place:
            session = Session(document, given.build.resolve(), Path(place))
            try:
                SESSIONS[document](session)
            finally:
                session.close()
        print(f"documents: the commands of {document} do what it says")


if __name__ == "__main__":
    main()
