"""Closing in any state, from any thread, in a callback, in a finalizer, with work in flight; and what is left behind.

LIFECYCLES=n sets how many random lives are lived (10000 for the whole), LIFECYCLE_SEED=n repeats them.
"""

from __future__ import annotations

import gc
import logging
import os
import queue
import random
import resource
import threading
import time
import warnings
import weakref

import pytest
from conftest import Inbox, descriptors, follow, tasks, wait_until

import libreplication as r
from libreplication import ReplicationError, _handle, errors

LIVES = int(os.environ.get("LIFECYCLES", "2000"))
QUIET = logging.Logger("quiet", logging.CRITICAL)
SEED = int(os.environ.get("LIFECYCLE_SEED", str(time.time_ns() % 1_000_000)))


class Crew:
    """A few threads that do what they are told, so that a life costs no new ones."""

    def __init__(self, size):
        self.orders = queue.SimpleQueue()
        self.threads = [threading.Thread(target=self.work) for _ in range(size)]
        for thread in self.threads:
            thread.start()

    def work(self):
        while True:
            order = self.orders.get()
            if order is None:
                return
            try:
                order()
            except ReplicationError:
                pass  # what it used is closed

    def dismiss(self):
        for _ in self.threads:
            self.orders.put(None)
        for thread in self.threads:
            thread.join()


class Lives:
    """Random lives of senders and receivers."""

    def __init__(self, seed, address, writer):
        self.random = random.Random(seed)
        self.address = address
        self.writer = writer
        self.crew = Crew(3)

    def live(self):
        choose = self.random.choice
        self.begin(choose([self.sender, self.receiver, self.receiver, self.iterated]))

    def begin(self, make):
        subject, works = make()
        work = None
        for _ in range(self.random.randrange(4)):
            work = self.random.choice(works)
            if self.random.random() < 0.5:
                self.crew.orders.put(work)
            else:
                try:
                    work()
                except ReplicationError:
                    pass
        del work, works
        getattr(self, self.random.choice(["at_once", "elsewhere", "twice", "dropped", "finalized", "cyclic"]))(subject)

    # ---- births ----

    def sender(self):
        ending = self.random.random() < 0.3
        held = []

        def on_event(event):
            if ending and held:
                held[0].close()

        sender = r.Sender(stop_timeout_ms=0, on_event=on_event, io_threads=1, logger=QUIET)
        if self.random.random() < 0.8:
            sender.start()
            port = sender.listen("127.0.0.1:0")
            if ending:
                held.append(sender)  # a cycle, which its own callback or the end breaks
                follow(f"127.0.0.1:{port}", print, logger=QUIET).close()
        works = [
            lambda: sender.replicate(b"x" * 300),
            lambda: sender.replicate_batch([b"x"] * 10),
            lambda: sender.wait_acked(sender.replicate(b"x"), timeout=0.01),
            lambda: sender.on_acked(sender.replicate(b"x"), lambda *told: None),
            lambda: sender.stats(),
            lambda: sender.stop(),
        ]
        return sender, works

    def receiver(self):
        kind = self.random.randrange(4)
        box = []

        def handle(entry):
            if kind == 1:
                box[0].close()
            if kind == 2:
                raise ZeroDivisionError
            if kind == 3:
                box.clear()

        batch = self.random.random() < 0.5
        options = {"batch_handler": handle} if batch else {"handler": handle}
        receiver = r.Receiver("reader-%d" % self.random.randrange(4), self.address, logger=QUIET, **options)
        if kind in (1, 3):
            box.append(receiver)
        if self.random.random() < 0.8:
            receiver.start()
        works = [
            lambda: receiver.wait_sequence(10**9, timeout=0.05),
            lambda: receiver.wait_sequence(1, timeout=0.02),
            lambda: receiver.pause(),
            lambda: receiver.resume(),
            lambda: receiver.stats(),
            lambda: receiver.stop(),
            lambda: self.writer.replicate(b"x"),
        ]
        return receiver, works

    def iterated(self):
        box = Inbox()
        receiver = follow(self.address, box, "reader-%d" % self.random.randrange(4), logger=QUIET)
        weak = weakref.ref(receiver)
        if self.random.random() < 0.5:
            receiver.start()

        def ask():
            found = weak()
            if found is not None:
                found.stats()

        return receiver, [ask, lambda: self.writer.replicate(b"y")]

    # ---- deaths ----

    def at_once(self, subject):
        subject.close()
        with pytest.raises(errors.ClosedError):
            subject.stats()

    def elsewhere(self, subject):
        self.crew.orders.put(subject.close)

    def twice(self, subject):
        self.crew.orders.put(subject.close)
        self.crew.orders.put(subject.close)
        subject.close()

    def dropped(self, subject):
        del subject

    def finalized(self, subject):
        """Closed by somebody else's finalizer."""

        class Owner:
            pass

        owner = Owner()
        weakref.finalize(owner, subject.close)
        del owner

    def cyclic(self, subject):
        """Closed by the collector of cycles, whenever and on whichever thread it runs."""
        cycle = [subject]
        cycle.append(cycle)


def resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


@pytest.mark.timeout(600)
def test_random_lives_end_well(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        with r.Sender(stop_timeout_ms=0, logger=QUIET) as writer:
            address = f"127.0.0.1:{writer.listen('127.0.0.1:0')}"
            writer.replicate_batch([b"x"] * 10)
            lives = Lives(SEED, address, writer)
            try:
                for number in range(LIVES):
                    lives.live()
                    if len(_handle._live) > 40:
                        gc.collect()
                        wait_until(lambda: len(_handle._live) < 40, f"the end of lives (seed {SEED}, life {number})")
            finally:
                lives.crew.dismiss()
            gc.collect()
            wait_until(lambda: _handle._live == {writer._handle}, f"the end of all lives (seed {SEED})")
    with capsys.disabled():
        print(f" {LIVES} lives, seed {SEED} ", end="", flush=True)


@pytest.mark.parametrize("kind", ["closed", "dropped", "in a callback"])
def test_nothing_is_left_behind(kind):
    """Threads, descriptors and memory are the same after one life and after many."""

    def live():
        with r.Sender(stop_timeout_ms=0, io_threads=1) as sender:
            address = f"127.0.0.1:{sender.listen('127.0.0.1:0')}"
            if kind == "in a callback":
                receiver = follow(address, lambda entry: receiver.close())
            else:
                receiver = follow(address, lambda entry: None)
            receiver.start()
            sequence = sender.replicate(bytes(100_000))
            try:
                receiver.wait_sequence(sequence, timeout=10)
            except errors.ClosedError:
                pass
            if kind == "closed":
                receiver.close()
        receiver = None
        wait_until(lambda: not _handle._live)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(20):
            live()
        gc.collect()
        before = tasks(), descriptors(), resident_bytes()
        for _ in range(100):
            live()
        gc.collect()
    wait_until(lambda: tasks() <= before[0] and descriptors() <= before[1])
    # A hundred payloads, or the windows that held them, would be 10 MB and more.
    assert resident_bytes() - before[2] < 8 << 20


def test_a_dropped_receiver_warns_and_ends(sender, address, inbox):
    receiver = follow(address, inbox)
    receiver.start()
    receiver.wait_sequence(sender.replicate(b"x"), timeout=10)
    with pytest.warns(ResourceWarning, match="unclosed"):
        del receiver
        gc.collect()
    wait_until(lambda: sender.reader_count == 0)


def test_a_finalizer_does_not_wait_for_a_callback(sender, address):
    """It may run while a lock is held that the callback wants."""
    lock = threading.Lock()
    entered = threading.Event()

    def handle(entry):
        entered.set()
        with lock:
            pass

    receiver = follow(address, handle)
    receiver.start()
    with lock:
        sender.replicate(b"x")
        assert entered.wait(10)
        with pytest.warns(ResourceWarning):
            del receiver
            gc.collect()


def test_closing_waits_for_calls_in_flight(sender, address, inbox):
    receiver = follow(address, inbox)
    receiver.start()
    ended = []

    def wait():
        with pytest.raises(errors.ClosedError):
            receiver.wait_sequence(10**9)
        ended.append(True)

    threads = [threading.Thread(target=wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(receiver._handle._users) >= 5)
    receiver.close()
    for thread in threads:
        thread.join()
    assert len(ended) == 5


def test_closing_waits_for_the_handler_that_runs(sender, address):
    running, go_on, done = threading.Event(), threading.Event(), []

    def handle(entry):
        running.set()
        go_on.wait(10)
        done.append(entry.sequence)

    with follow(address, handle) as receiver:
        sender.replicate(b"x")
        assert running.wait(10)
        closer = threading.Thread(target=receiver.close)
        closer.start()
        assert not done
        go_on.set()
        closer.join()
    assert done == [1]


def test_closing_in_its_own_callback_returns_at_once(sender, address):
    after = []

    def handle(entry):
        receiver.close()
        receiver.close()
        with pytest.raises(errors.ClosedError):
            receiver.stats()
        after.append(entry.sequence)

    receiver = follow(address, handle)
    receiver.start()
    sender.replicate_batch([b"x"] * 5)
    wait_until(lambda: receiver._handle._closed)
    assert after == [1], "no further callback began"


def test_closing_in_a_signal_handler_in_the_middle_of_a_call(sender, address, inbox):
    import signal

    receiver = follow(address, inbox)
    receiver.start()
    previous = signal.signal(signal.SIGALRM, lambda *_: receiver.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(errors.ClosedError):
            receiver.wait_sequence(10**9, timeout=20)
    finally:
        signal.signal(signal.SIGALRM, previous)
    wait_until(lambda: receiver._handle._closed)


def test_ctrl_c_is_heard_while_waiting(sender, address, inbox):
    import signal

    def interrupt(*_):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        with follow(address, inbox) as receiver:
            for wait in (lambda: receiver.wait_sequence(10**9), lambda: sender.wait_acked(0, readers=9)):
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                begin = time.monotonic()
                with pytest.raises(KeyboardInterrupt):
                    wait()
                assert time.monotonic() - begin < 5
    finally:
        signal.signal(signal.SIGALRM, previous)
