"""Random lives: senders and receivers that are used by several threads and an event loop, and closed in any state, from
any thread, in a callback, in a finalizer, with work in flight.

LIFECYCLES=n sets how many lives are lived, LIFECYCLE_SEED=n repeats them. `make test-long` lives ten times as many.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import queue
import random
import threading
import time
import warnings
import weakref

import pytest
from conftest import follow, wait_until

import libreplication as r
from libreplication import ReplicationError, _handle, errors

LIVES = int(os.environ.get("LIFECYCLES", "1000"))
SEED = int(os.environ.get("LIFECYCLE_SEED", str(time.time_ns() % 1_000_000)))
QUIET = logging.Logger("quiet", logging.CRITICAL)

AT_ONCE = 40
"""How many lives there may be that are not over yet."""


class Crew:
    """A few threads that do what they are told, so that a life costs no new ones."""

    def __init__(self, size):
        self.orders = queue.SimpleQueue()
        self.failures = []
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
            except BaseException as error:
                self.failures.append(error)
            del order  # or it would keep what it used until the next one

    def dismiss(self):
        for _ in self.threads:
            self.orders.put(None)
        for thread in self.threads:
            thread.join()
        assert self.failures == []


class Loop:
    """A thread with an event loop."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    def do(self, work):
        """Awaits what `work` makes in the loop, and waits for that."""
        asyncio.run_coroutine_threadsafe(work(), self.loop).result()

    def try_to(self, work):
        """The same for a moment; then it is cancelled."""

        async def for_a_moment():
            try:
                await asyncio.wait_for(work(), 0.02)
            except asyncio.TimeoutError:
                pass

        self.do(for_a_moment)

    def close(self):
        self.do(self.loop.shutdown_asyncgens)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


class Lives:
    """Random lives of senders and receivers."""

    def __init__(self, seed, address, writer):
        self.random = random.Random(seed)
        self.address = address
        self.writer = writer
        self.crew = Crew(3)
        self.loop = Loop()
        self.iterated_entries = 0

    def live(self):
        choose = self.random.choice
        births = [self.sender, self.receiver, self.receiver, self.iterated, self.awaited, self.awaited_sender]
        self.begin(choose(births))

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

    def end(self):
        """When this returns nothing of any life runs."""
        try:
            self.crew.dismiss()
            # Collected again and again: an await that was cancelled may end late, and leave a cycle.
            only_the_writer = {self.writer._handle}
            wait_until(lambda: gc.collect() >= 0 and _handle._live == only_the_writer, f"all ends (seed {SEED})")
        finally:
            self.loop.close()

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
            lambda: sender.on_acked(sender.replicate_token(b"x"), lambda *told: None),
            lambda: sender.stats(),
            lambda: sender.stop(),
        ]
        return sender, works

    def handler(self, kind, box):
        """One that closes what is in the box, fails, or empties the box."""

        def handle(entry):
            if kind == "closes":
                box[0].close()
            if kind == "fails":
                raise ZeroDivisionError
            if kind == "drops":
                box.clear()

        return {self.random.choice(["handler", "batch_handler"]): handle}

    def reader_id(self):
        return "reader-%d" % self.random.randrange(4)

    def receiver(self):
        kind, box = self.random.choice(["closes", "fails", "drops", "takes"]), []
        receiver = r.Receiver(self.reader_id(), self.address, logger=QUIET, **self.handler(kind, box))
        if kind in ("closes", "drops"):
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

    def awaited(self):
        kind, box = self.random.choice(["closes", "fails", "drops", "takes"]), []
        receiver = r.AsyncReceiver(self.reader_id(), self.address, logger=QUIET, **self.handler(kind, box))
        if kind in ("closes", "drops"):
            box.append(receiver.sync)
        self.start_in_loop(receiver)
        works = [
            lambda: self.loop.try_to(lambda: receiver.wait_sequence(10**9)),
            lambda: self.loop.try_to(lambda: receiver.wait_sequence(1)),
            lambda: self.loop.try_to(receiver.pause),
            lambda: self.loop.try_to(receiver.stop),
            lambda: receiver.resume(),
            lambda: receiver.stats(),
            lambda: self.writer.replicate(b"x"),
        ]
        return receiver, works

    def iterated(self):
        receiver = r.AsyncReceiver(
            self.reader_id(), self.address, logger=QUIET, max_entries=self.random.choice([None, 1, 7])
        )
        self.start_in_loop(receiver)
        leaves_after, raises = self.random.randrange(12), self.random.random() < 0.3

        async def iterate():
            count = 0
            async for _ in receiver:
                count += 1
                self.iterated_entries += 1
                if count > leaves_after and raises:
                    raise errors.ClosedError("as a body may")
                if count > leaves_after:
                    break

        weak = weakref.ref(receiver)

        def ask():
            found = weak()
            if found is not None:
                found.stats()

        works = [
            lambda: self.loop.try_to(iterate),
            lambda: self.loop.try_to(iterate),
            lambda: self.loop.try_to(lambda: receiver.wait_sequence(1)),
            lambda: self.loop.try_to(receiver.stop),
            lambda: self.writer.replicate(b"y"),
            ask,
        ]
        return receiver, works

    def awaited_sender(self):
        sender = r.AsyncSender(stop_timeout_ms=0, io_threads=1, logger=QUIET)
        if self.random.random() < 0.8:
            self.loop.do(sender.__aenter__)
            self.loop.do(lambda: sender.listen("127.0.0.1:0"))
        works = [
            lambda: sender.replicate(b"x" * 300),
            lambda: sender.replicate_batch([b"x"] * 10),
            lambda: self.loop.try_to(lambda: sender.wait_acked(1)),
            lambda: self.loop.try_to(lambda: sender.wait_acked(1, timeout=0.01)),
            lambda: self.loop.try_to(lambda: sender.wait_durable(1)),
            lambda: self.loop.try_to(sender.stop),
        ]
        return sender, works

    def start_in_loop(self, receiver):
        if self.random.random() < 0.8:
            self.loop.do(receiver.__aenter__)

    # ---- deaths ----

    def closing(self, subject):
        """A way to close it."""
        if isinstance(subject, (r.AsyncReceiver, r.AsyncSender)):
            return self.random.choice([subject.sync.close, lambda: self.loop.try_to(subject.close)])
        return subject.close

    def at_once(self, subject):
        if isinstance(subject, (r.AsyncReceiver, r.AsyncSender)):
            self.loop.do(subject.close)
            subject = subject.sync
        subject.close()
        with pytest.raises(errors.ClosedError):
            subject.stats()

    def elsewhere(self, subject):
        self.crew.orders.put(self.closing(subject))

    def twice(self, subject):
        self.crew.orders.put(self.closing(subject))
        self.crew.orders.put(self.closing(subject))
        self.closing(subject)()

    def dropped(self, subject):
        del subject

    def finalized(self, subject):
        """Closed by somebody else's finalizer."""

        class Owner:
            pass

        owner = Owner()
        weakref.finalize(owner, self.closing(subject))
        del owner

    def cyclic(self, subject):
        """Closed by the collector of cycles, whenever and on whichever thread it runs."""
        cycle = [subject]
        cycle.append(cycle)


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
                    if len(_handle._live) > AT_ONCE:
                        gc.collect()
                        wait_until(lambda: len(_handle._live) < AT_ONCE, f"an end (seed {SEED}, life {number})")
            finally:
                lives.end()
    assert lives.iterated_entries > 0
    with capsys.disabled():
        print(f" {LIVES} lives, seed {SEED}, {lives.iterated_entries} entries iterated ", end="", flush=True)
