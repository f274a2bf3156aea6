"""What docs/python.md and the READMEs show is run."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from conftest import ROOT, follow

import libreplication as r
from libreplication import _options

PAGE = (ROOT / "docs/python.md").read_text()


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def test_the_example_does_what_the_page_says(tmp_path):
    (tmp_path / "example.py").write_text(blocks(PAGE, "python")[0])
    for name in ("bindings", "include"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "build").symlink_to(Path(os.environ["LIBREPLICATION_LIB"]).parent.parent)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "LIBREPLICATION_LIB")}
    done = subprocess.run(
        ["bash", "-eu", "-c", blocks(PAGE, "sh")[0]],
        cwd=tmp_path,
        env={**environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.returncode, done.stdout) == (0, blocks(PAGE, "text")[0]), done.stderr


def test_the_same_example_is_everywhere():
    example = blocks(PAGE, "python")[0]
    quickstart = (ROOT / "bindings/python/examples/quickstart.py").read_text()
    assert example in quickstart, "quickstart.py has the page's example"
    readme = blocks((ROOT / "bindings/python/README.md").read_text(), "python")[0]
    plain = re.sub(r'  # .*$|^ *""".*"""\n', "", example, flags=re.M)
    assert readme == plain, "so has the package's README, without comments"
    assert 'with Sender() as sender:\n        port = sender.listen("127.0.0.1:7000")' in r.__doc__


class Database:
    """Stands for the host's database."""

    def __init__(self):
        self.rows, self.token = {}, None

    @contextmanager
    def transaction(self):
        yield

    def insert(self, sequence, data):
        assert sequence not in self.rows
        self.rows[sequence] = data

    def set_place(self, token):
        self.token = token

    def place(self):
        return self.token


def test_every_other_piece_of_the_page_runs(sender, address, capfd):
    sender.replicate_batch([b"1", b"2", b"3"])
    stored, database = [], Database()
    pieces = blocks(PAGE, "python")[1:]
    assert len(pieces) == 3
    for piece in pieces:
        names = {"store": stored.append, "database": database, "address": address, "Receiver": r.Receiver}
        exec(compile(piece, "docs/python.md", "exec"), names)
        if "batch" in piece:
            with follow(address, None, batch_handler=names["apply"]) as receiver:
                receiver.wait_sequence(3, timeout=10)
    assert [entry.data for entry in stored] == list(database.rows.values()) == [b"1", b"2", b"3"]
    assert database.token == sender.token()
    assert "3 b'3'" in capfd.readouterr().out


def test_the_page_names_what_there_is():
    named = re.findall(r"`(Sender|Receiver)\((\w+)=…(?:, (\w+)=…)?\)", PAGE)
    assert len(named) > 3
    for end, *keywords in named:
        assert set(filter(None, keywords)) <= set(inspect.signature(getattr(r, end)).parameters)
    for name in re.findall(r"`errors\.(\w+)`", PAGE):
        assert hasattr(r.errors, name)


def test_the_options_of_asyncio_are_those_of_the_two_ends():
    sender, receiver = (inspect.signature(end).parameters for end in (r.Sender, r.Receiver))
    positional = {"reader_id", "writer_addr", "max_entries"}
    assert dict(_options.SenderOptions.__annotations__).keys() == sender.keys()
    assert dict(_options.ReceiverOptions.__annotations__).keys() == receiver.keys() - positional


def test_everything_public_has_a_docstring():
    modules = [r, r.codec, r.errors]
    missing = []
    for module in modules:
        for name, value in vars(module).items():
            if (
                name.startswith("_")
                or inspect.ismodule(value)
                or not (inspect.isclass(value) or inspect.isfunction(value))
            ):
                continue
            if not value.__module__.startswith("libreplication"):
                continue
            if not value.__doc__:
                missing.append(name)
            if inspect.isclass(value):
                for method, function in vars(value).items():
                    if inspect.isfunction(function) and not method.startswith("_") and not function.__doc__:
                        missing.append(f"{name}.{method}")
    assert missing == []
