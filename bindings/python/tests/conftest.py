"""What the tests share: a sender with a reader, waiting for a condition, leaks, and which functions were called."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

from libreplication import Event, EventKind, Receiver, Sender, _native, _raw

ROOT = Path(__file__).resolve().parents[3]

CALLS: Counter = Counter()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Counts the calls of each function of the library."""
    library = _native.library()
    for name in _raw.PROTOTYPES:
        setattr(library, name, _counted(name, getattr(library, name)))


def _counted(name: str, function: Any) -> Any:
    def call(*arguments: Any) -> Any:
        CALLS[name] += 1
        return function(*arguments)

    return call


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A whole run has called every function of the interface."""
    chosen = session.config.option.keyword or session.config.option.markexpr or session.config.args != ["tests"]
    missing = sorted(set(_raw.PROTOTYPES) - set(CALLS))
    if not chosen and exitstatus == 0 and missing:
        print(f"\nfunctions that no test called: {', '.join(missing)}")
        session.exitstatus = 1


def wait_until(condition: Callable[[], Any], what: str = "the condition", seconds: float = 20) -> Any:
    """Waits until something is true, and returns it."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.002)


class Events(List[Event]):
    """The events of a handle."""

    def of(self, kind: EventKind) -> List[Event]:
        return [event for event in list(self) if event.kind == kind]

    def wait(self, kind: EventKind) -> Event:
        return wait_until(lambda: self.of(kind), kind.name)[0]


def tasks() -> int:
    """How many threads the process has, the library's included."""
    return len(os.listdir("/proc/self/task"))


def descriptors() -> int:
    """How many descriptors are open."""
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Every test ends with the threads, descriptors and handles that it began with."""
    from libreplication import _callbacks, _handle

    before = tasks(), descriptors()
    yield
    gc.collect()
    wait_until(lambda: not _handle._live, "the end of all handles")
    assert not _callbacks._hosts and not _callbacks._waiting
    wait_until(lambda: tasks() <= before[0], "the end of the threads")
    wait_until(lambda: descriptors() <= before[1], "the end of the descriptors")


@pytest.fixture
def sender() -> Iterator[Sender]:
    with Sender(stop_timeout_ms=1000) as sender:
        yield sender


@pytest.fixture
def address(sender: Sender) -> str:
    return f"127.0.0.1:{sender.listen('127.0.0.1:0')}"


class Inbox(List[Any]):
    """A handler that keeps what it gets."""

    __call__ = list.append


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


def follow(address: str, handler: Any, reader_id: str = "reader", **options: Any) -> Receiver:
    """A receiver that comes back quickly."""
    options.setdefault("reconnect_interval_ms", 20)
    options.setdefault("ack_interval_ms", 5)
    return Receiver(reader_id, address, handler, **options)
