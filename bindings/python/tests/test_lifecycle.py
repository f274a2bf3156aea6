"""Closing in a callback, in a finalizer, in a signal handler, with work in flight; and what is left behind."""

from __future__ import annotations

import gc
import resource
import threading
import time
import warnings

import pytest
from conftest import descriptors, follow, tasks, wait_until

import libreplication as r
from libreplication import _arguments, _handle, errors


def resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


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


@pytest.mark.parametrize("seconds, text", [(0.25, "250 ms"), (0.05, "50 ms"), (0, "0 ms")])
def test_the_text_of_a_wait_names_the_whole_time(sender, address, inbox, seconds, text):
    """The main thread waits in slices of 100 ms."""
    token = sender.replicate_token(b"x")
    with follow(address, inbox) as receiver:
        quorum = r.Quorum({None: 9})
        for wait in (
            lambda: receiver.wait_sequence(10**9, timeout=seconds),
            lambda: sender.wait_acked(1, readers=9, timeout=seconds),
            lambda: sender.wait_token(token, readers=quorum, timeout=seconds),
        ):
            with pytest.raises(errors.TimedOutError, match=f"within {text}") as raised:
                wait()
            assert str(raised.value).count("within") == 1


def test_the_text_of_a_wait_that_was_given_up_is_the_last_ones():
    wait = _arguments.wait
    with pytest.raises(errors.TimedOutError):
        wait(lambda ms: r.Status.TIMEOUT, None, lambda: False)
