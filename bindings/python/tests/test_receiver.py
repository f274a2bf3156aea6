"""A reader's end: options, handlers, failures, and where it stands."""

from __future__ import annotations

import copy
import gc
import logging
import pickle
import socket
import threading

import pytest
from conftest import CALLS, Events, Inbox, follow, wait_until

import libreplication as r
from libreplication import errors


@pytest.mark.parametrize(
    "options",
    [
        {"reader_id": ""},
        {"reader_id": "x" * 256},
        {"reader_id": "a\0b"},
        {"writer_addr": ""},
        {"writer_addr": "nowhere"},
        {"handler": None},
        {"batch_handler": print},
        {"max_entries": -1},
        {"last_sequence": -1},
        {"token": bytes(47)},
        {"token": bytes(48)},
        {"protocol": 9},
        {"gap_policy": 9},
        {"apply_policy": 9},
        {"apply_policy": r.ApplyPolicy.STOP, "apply_retries": -1},
        {"reconnect_interval_ms": 0},
        {"ack_interval_ms": 0},
        {"connect_timeout_ms": 0},
        {"peer_timeout_ms": 5, "heartbeat_interval_ms": 5},
        {"max_entry_bytes": 0},
        {"records_max_bytes": 0},
        {"buffer_bytes": 1},
        {"max_epoch_jump": 0},
        {"wal_dir": ""},
        {"wal_dir": "log", "protocol": r.Protocol.V1},
        {"wal_sync": (9, 1, 1)},
        {"tls": r.ReceiverTls("")},
    ],
)
def test_a_wrong_option_is_refused(options):
    with pytest.raises(errors.ReplicationError) as raised:
        r.Receiver(**{"reader_id": "reader", "writer_addr": "127.0.0.1:1", "handler": print, **options})
    assert raised.value.status in (r.Status.INVALID_ARGUMENT, r.Status.BAD_ADDRESS)
    assert isinstance(raised.value, ValueError)


def test_options_of_wrong_types_are_refused():
    async def coroutine(entry):
        pass

    wrong = ({"handler": 3}, {"handler": coroutine}, {"local_wal": 3}, {"connect": 3}, {"reader_id": b"x"}, {"tls": 3})
    for options in wrong:
        with pytest.raises((TypeError, AttributeError)):
            r.Receiver(**{"reader_id": "reader", "writer_addr": "127.0.0.1:1", "handler": print, **options})


def test_a_missing_file_of_tls_is_named(tmp_path):
    with pytest.raises(errors.IOFailedError, match="no.pem"):
        r.Receiver("reader", "127.0.0.1:1", print, tls=r.ReceiverTls(tmp_path / "no.pem"))


def test_every_option_is_taken(sender, address, tmp_path, inbox):
    logged = Inbox()
    sender.replicate(b"one")
    with r.Receiver(
        "reader",
        address,
        inbox,
        protocol=r.Protocol.V2,
        coordinator_handshake=False,
        insecure_permissions_allowed=False,
        gap_policy=r.GapPolicy.REFUSE,
        apply_policy=r.ApplyPolicy.RETRY,
        handler_durable=True,
        reconnect_interval_ms=20,
        ack_interval_ms=5,
        connect_timeout_ms=1000,
        heartbeat_interval_ms=100,
        max_entry_bytes=1 << 20,
        records_max_bytes=1 << 20,
        peer_timeout_ms=1000,
        buffer_bytes=1 << 20,
        max_epoch_jump=1,
        local_wal=logged.append,
        wal_dir=tmp_path / "log",
        wal_sync=r.WalSync(r.SyncPolicy.ALWAYS),
        wal_segment_bytes=1 << 20,
        wal_retain_bytes=1 << 21,
        wal_retain_ms=60_000,
        logger=logging.getLogger("mine"),
    ) as receiver:
        receiver.wait_sequence(1, timeout=10)
        assert receiver.connected and receiver.last_sequence == 1
        assert receiver.token() == sender.token()
        assert sender.wait_acked(1, r.AckLevel.DURABLE, timeout=10) == 1
        stats = receiver.stats()
        assert stats["wal_dir"] == str(tmp_path / "log") and stats["reader_id"] == "reader"
    assert [entry.data for entry in logged] == [entry.data for entry in inbox] == [b"one"]


def test_it_resumes_by_token_or_sequence(sender, address):
    sender.replicate_batch([b"1", b"2", b"3"])
    first = Inbox()
    with follow(address, first) as receiver:
        receiver.wait_sequence(3, timeout=10)
        token = receiver.token()
    sender.replicate(b"4")
    for place in ({"token": token}, {"last_sequence": 3}):
        rest = Inbox()
        with follow(address, rest, **place) as receiver:
            receiver.wait_sequence(4, timeout=10)
        assert [entry.sequence for entry in rest] == [4]


def test_a_foreign_writer_is_refused(sender, address, inbox):
    events = Events()
    with follow(address, inbox, token=r.parse_token(f"{'00' * 16}:1:0:{'00' * 8}"), on_event=events.append):
        assert events.wait(r.EventKind.DIVERGED).status == r.Status.DIVERGED
    assert not inbox


def test_a_part_of_a_batch_has_a_token(sender, address):
    """A host that commits a part goes on after it, and gets the rest once."""
    sender.replicate_batch([b"1", b"2", b"3", b"4"])
    known = []

    def part(batch):
        if not known and len(batch) == 4:
            with pytest.raises(errors.InvalidArgumentError):
                receiver.batch_token(5)
            known.extend(receiver.batch_token(count) for count in (0, 2, 4))
            assert known[2] == receiver.token()
            batch.applied = 2
            raise RuntimeError("the rest does not fit")

    receiver = r.Receiver("reader", address, batch_handler=part, apply_policy=r.ApplyPolicy.STOP)
    with receiver:
        wait_until(lambda: receiver.last_sequence == 2)
        assert receiver.token() == known[1]
        with pytest.raises(errors.InvalidStateError):
            receiver.batch_token(0)
    assert r.token_text(known[0]).split(":")[2] == "0"
    rest = Inbox()
    with follow(address, rest, token=known[1]) as receiver:
        receiver.wait_sequence(4, timeout=10)
    assert [entry.data for entry in rest] == [b"3", b"4"]


def test_the_token_in_a_handler_is_behind_its_entry(sender, address):
    tokens = []
    receiver = follow(address, lambda entry: tokens.append((entry.sequence, receiver.token())))
    with receiver:
        for _ in range(20):
            sender.replicate(b"x")
        receiver.wait_sequence(20, timeout=10)
    for sequence, token in tokens[::7]:
        rest = Inbox()
        with follow(address, rest, token=token) as resumed:
            resumed.wait_sequence(20, timeout=10)
        assert [entry.sequence for entry in rest] == list(range(sequence + 1, 21))


def test_entries_may_be_kept(sender, address, inbox):
    payloads = [bytes([n % 256]) * (n * 37 % 5000) for n in range(500)]
    with follow(address, inbox) as receiver:
        receiver.wait_sequence(sender.replicate_batch(payloads) + 499, timeout=20)
    gc.collect()
    assert [entry.payload for entry in inbox] == payloads
    entry = inbox[7]
    assert entry.payload.readonly and entry.data is entry.payload.obj and entry == (8, entry[1], payloads[7])
    assert entry.payload[1:3] == payloads[7][1:3]
    assert pickle.loads(pickle.dumps(entry)) == entry == copy.deepcopy(entry)
    assert eval(repr(entry).replace("payload=", "payload=memoryview(") + ")", {"Entry": r.Entry}) == entry
    assert r.Entry(1, 2, memoryview(b"abc")[1:]).data == b"bc"
    assert r.Entry(1, 2, memoryview(b"abc")[::-1]).data == b"cba"
    assert r.Entry(1, 2, memoryview(bytearray(b"abc"))).data == b"abc"


def test_batches(sender, address):
    batches = []
    kept = []

    def handle(batch):
        kept.append(batch)
        assert 1 <= len(batch) <= 7
        assert batch.last_sequence - batch.first_sequence == len(batch) - 1
        if batch.first_sequence > 20:
            batches.append(list(batch))
            assert batch[0] is batches[-1][0] and batch[-1].sequence == batch.last_sequence and batch[:2] == batch[0:2]
            with pytest.raises(IndexError):
                batch[len(batch)]

    sender.replicate_batch([b"%d" % n for n in range(1, 101)])
    with follow(address, None, batch_handler=handle, max_entries=7) as receiver:
        receiver.wait_sequence(100, timeout=10)
    entries = [entry for batch in batches for entry in batch]
    assert [entry.data for entry in entries] == [b"%d" % n for n in range(entries[0].sequence, 101)]
    assert list(kept[-1]) == batches[-1], "a batch that was looked into stays"
    with pytest.raises(ValueError, match="the batch is over"):
        kept[0][0]
    assert sum(map(len, kept)) == 100 and kept[0].first_sequence == 1 and "entries" in repr(kept[0])


def test_a_batch_may_be_read_on_another_thread_while_the_handler_returns(sender, address):
    """Whoever wins, the reader gets whole entries or a ValueError."""
    seen, threads = [], []

    def read(batch):
        try:
            seen.append([entry.payload == bytes([entry.sequence % 256]) * 2000 for entry in batch])
        except ValueError:
            seen.append([])

    def handle(batch):
        thread = threading.Thread(target=read, args=(batch,))
        threads.append(thread)
        thread.start()

    sender.replicate_batch([bytes([n % 256]) * 2000 for n in range(1, 501)])
    with follow(address, None, batch_handler=handle, max_entries=10) as receiver:
        receiver.wait_sequence(500, timeout=20)
        for thread in threads:
            thread.join()
    assert len(seen) >= 50 and all(map(all, seen))


def failing(kind, when=lambda entry: True):
    """Options with a handler of a kind that raises for some entries."""

    def fail(entry):
        if when(entry):
            raise ZeroDivisionError(f"no {entry.sequence}")

    def fail_batch(batch):
        for entry in batch:
            fail(entry)
            batch.applied += 1

    if kind == "batch_handler":
        return {"handler": None, "batch_handler": fail_batch}
    if kind == "records":
        return {"handler": None, "records": fail}
    if kind == "local_wal":
        return {"handler": Inbox(), "local_wal": fail}
    return {"handler": fail}


@pytest.mark.parametrize("kind", ["handler", "batch_handler", "records", "local_wal"])
def test_an_exception_is_an_apply_failure_with_its_traceback(sender, address, kind, caplog):
    events = Events()
    sender.replicate_batch([b"\x91\x80"] * 3)
    caplog.set_level(logging.INFO)
    options = failing(kind, lambda entry: entry.sequence == 2)
    policy = {"apply_policy": r.ApplyPolicy.STOP, "apply_retries": 1}
    with follow(address, on_event=events.append, **policy, **options) as receiver:
        event = events.wait(r.EventKind.STOPPED)
        with pytest.raises(errors.ApplyFailedError):
            receiver.wait_sequence(3, timeout=10)
        assert receiver.last_sequence == 1
    failures = events.of(r.EventKind.APPLY_FAILED)
    assert [failure.detail["tries"] for failure in failures] == [1, 2]
    for failure in [*failures, event]:
        assert (failure.sequence, failure.status) == (2, r.Status.APPLY_FAILED)
        assert failure.detail["code"] == r.Status.APPLY_FAILED
        assert "ZeroDivisionError: no 2" in failure.traceback and "in fail" in failure.traceback
    logged = [record.getMessage() for record in caplog.records if record.name == "libreplication.receiver"]
    assert any("ZeroDivisionError: no 2" in line for line in logged)


@pytest.mark.parametrize("kind", ["handler", "batch_handler", "records"])
def test_an_entry_that_failed_comes_again(sender, address, kind):
    tries = {}

    def when(entry):
        tries[entry.sequence] = tries.get(entry.sequence, 0) + 1
        return entry.sequence % 5 == 0 and tries[entry.sequence] < 3

    sender.replicate_batch([b"\x91\x80"] * 20)
    with follow(address, **failing(kind, when)) as receiver:
        receiver.wait_sequence(20, timeout=20)
        assert receiver.stats()["total_apply_failures"] == 8
    assert tries == {n: 3 if n % 5 == 0 else 1 for n in range(1, 21)}


def test_the_skip_policy_tells_why(sender, address):
    events = Events()
    sender.replicate_batch([b"x"] * 3)
    options = failing("handler", lambda entry: entry.sequence == 2)
    with follow(address, apply_policy=r.ApplyPolicy.SKIP, on_event=events.append, **options) as receiver:
        receiver.wait_sequence(3, timeout=10)
        assert "no 2" in events.wait(r.EventKind.ENTRY_SKIPPED).traceback


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError, RecursionError])
def test_any_exception_is_a_failure(sender, address, error):
    raised = []

    def handle(entry):
        if not raised:
            raised.append(entry)
            raise error

    with follow(address, handle) as receiver:
        receiver.wait_sequence(sender.replicate(b"x"), timeout=10)
        assert receiver.stats()["total_apply_failures"] == 1


def test_the_status_of_a_replication_error_is_the_code(sender, address):
    events = Events()

    def handle(entry):
        raise errors.DiskFullError("the host's disk")

    with follow(address, handle, on_event=events.append):
        sender.replicate(b"x")
        assert events.wait(r.EventKind.APPLY_FAILED).detail["code"] == r.Status.DISK_FULL


def test_what_a_handler_raises_is_not_kept_alive(sender, address):
    """The event has text only: no frame, and so no entry, hangs on it."""
    import weakref

    class Big:
        pass

    refs, events = [], Events()

    def handle(entry):
        big = Big()
        refs.append(weakref.ref(big))
        raise ValueError(big)

    with follow(address, handle, on_event=events.append):
        sender.replicate(b"x")
        events.wait(r.EventKind.APPLY_FAILED)
        wait_until(lambda: refs[0]() is None)


def test_connect(sender, address, inbox):
    asked = []

    def connect(writer_addr):
        asked.append(writer_addr)
        if len(asked) == 1:
            raise OSError("not yet")
        host, port = writer_addr.rsplit(":", 1)
        connection = socket.create_connection((host, int(port)))
        return connection if len(asked) % 2 else connection.detach()

    with follow(address, inbox, connect=connect) as receiver:
        receiver.wait_sequence(sender.replicate(b"x"), timeout=10)
        sender.remove_reader("reader")
        wait_until(lambda: len(asked) >= 3)
        receiver.wait_sequence(sender.replicate(b"y"), timeout=10)
    assert set(asked) == {address}


def test_pause_and_resume(sender, address, inbox):
    with follow(address, inbox) as receiver:
        receiver.wait_sequence(sender.replicate(b"x"), timeout=10)
        receiver.pause()
        sequence = sender.replicate(b"y")
        with pytest.raises(TimeoutError):
            receiver.wait_sequence(sequence, timeout=0.05)
        assert len(inbox) == 1
        receiver.resume()
        receiver.wait_sequence(sequence, timeout=10)


def test_wrong_times(address, inbox):
    receiver = follow(address, inbox)
    with receiver:
        for call in (receiver.start, lambda: receiver.wait_sequence(1, timeout=-1), lambda: pickle.dumps(receiver)):
            with pytest.raises((errors.ReplicationError, TypeError)):
                call()
        with pytest.raises(errors.TimedOutError):
            receiver.wait_sequence(1, timeout=0)
        receiver.stop()
        for call in (receiver.pause, receiver.resume, lambda: receiver.wait_sequence(1)):
            with pytest.raises(errors.ClosedError):
                call()
        assert receiver.stats()["running"] is False
    for call in (receiver.stats, receiver.token, receiver.start, receiver.pause, lambda: receiver.connected):
        with pytest.raises(errors.ClosedError):
            call()
    fresh = follow(address, inbox)
    for call in (receiver.stop, fresh.pause):
        with pytest.raises(errors.ReplicationError):
            call()
    with pytest.raises(errors.NotFoundError):
        fresh.token()
    fresh.close()
    fresh.close()


def test_a_callback_may_ask_but_not_wait(sender, address):
    told = []

    def handle(entry):
        for call in (receiver.stop, lambda: receiver.wait_sequence(1), lambda: receiver.wait_sequence(9, timeout=0)):
            try:
                call()
            except errors.WrongThreadError as error:
                told.append(error.status)
        receiver.pause()
        receiver.resume()
        receiver.stats()
        sender.replicate(b"y") if entry.data == b"x" else None

    receiver = follow(address, handle)
    with receiver:
        sender.replicate(b"x")
        receiver.wait_sequence(2, timeout=10)
    assert told == [r.Status.WRONG_THREAD] * 6


def test_a_wait_ends_when_another_writer_takes_over(inbox):
    """Also on the main thread, which waits in slices."""
    first = r.Sender(stop_timeout_ms=100)
    first.start()
    port = first.listen("127.0.0.1:0")
    with follow(f"127.0.0.1:{port}", inbox) as receiver:
        receiver.wait_sequence(first.replicate(b"x"), timeout=10)
        promoted = r.Sender(token=receiver.token(), epoch=2, stop_timeout_ms=100)

        begun = CALLS["receiver_wait_sequence"]

        def take_over():
            wait_until(lambda: CALLS["receiver_wait_sequence"] > begun)
            first.close()
            promoted.start()
            wait_until(lambda: listens(promoted, port))

        thread = threading.Thread(target=take_over)
        thread.start()
        with pytest.raises(errors.LineageChangedError):
            receiver.wait_sequence(100, timeout=20)
        thread.join()
        promoted.close()


def listens(sender, port):
    try:
        return sender.listen(f"127.0.0.1:{port}")
    except errors.AddressInUseError:
        return None
