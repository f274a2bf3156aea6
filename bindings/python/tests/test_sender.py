"""The writer's end."""

from __future__ import annotations

import logging
import os
import pickle
import socket
import struct

import pytest
from conftest import Events, follow, wait_until

import libreplication as r
from libreplication import codec, errors


def test_entries_get_consecutive_sequences(sender, address, inbox):
    with follow(address, inbox) as receiver:
        assert sender.replicate(b"one", timestamp_us=7) == 1
        assert sender.replicate_batch([b"two", bytearray(b"three"), memoryview(b"four"), b""], timestamp_us=8) == 2
        assert sender.replicate(memoryview(b"xsixx")[1:4]) == 6
        receiver.wait_sequence(6, timeout=10)
        assert sender.current_sequence == 6
    assert [entry.sequence for entry in inbox] == [1, 2, 3, 4, 5, 6]
    assert [entry.data for entry in inbox] == [b"one", b"two", b"three", b"four", b"", b"six"]
    assert [entry.timestamp_us for entry in inbox[:5]] == [7, 8, 8, 8, 8]
    assert inbox[5].timestamp_us > 1_600_000_000_000_000


@pytest.mark.parametrize(
    "call, error",
    [
        (lambda s: s.replicate("text"), TypeError),
        (lambda s: s.replicate(3), TypeError),
        (lambda s: s.replicate(None), TypeError),
        (lambda s: s.replicate(b"", timestamp_us=-1), errors.InvalidArgumentError),
        (lambda s: s.replicate(b"", timestamp_us=2**64), ValueError),
        (lambda s: s.replicate(b"", timestamp_us=1.5), TypeError),
        (lambda s: s.replicate_batch([]), errors.InvalidArgumentError),
        (lambda s: s.replicate_batch([b"", "text"]), TypeError),
        (lambda s: s.replicate(bytes(101 << 20)), errors.MessageTooLargeError),
        (lambda s: s.listen("nowhere"), errors.BadAddressError),
        (lambda s: s.listen("127.0.0.1:0\0"), errors.InvalidArgumentError),
        (lambda s: s.listen("\ud800"), errors.InvalidArgumentError),
        (lambda s: s.listen(b"127.0.0.1:0"), TypeError),
        (lambda s: s.accept_connection(-1), errors.BadDescriptorError),
        (lambda s: s.accept_connection(2**40), errors.BadDescriptorError),
        (lambda s: s.accept_reader(-1, "reader", 0), errors.BadDescriptorError),
        (lambda s: s.accept_reader(0, "", 0), errors.InvalidArgumentError),
        (lambda s: s.remove_reader("nobody"), errors.NotFoundError),
        (lambda s: s.wait_acked(1, timeout=0), errors.InvalidArgumentError),
        (lambda s: s.wait_acked(0, readers=-1), errors.InvalidArgumentError),
        (lambda s: s.wait_acked(0, timeout=float("nan")), errors.InvalidArgumentError),
        (lambda s: s.acked(s.token(), level=9), errors.InvalidArgumentError),
        (lambda s: s.acked(s.token(), readers=r.Quorum({"nobody": 1})), errors.InvalidArgumentError),
        (lambda s: s.acked(s.token()[:47]), errors.InvalidArgumentError),
        (lambda s: s.acked(1), TypeError),
        (lambda s: s.acked(r.parse_token(f"{'00' * 16}:1:1:{'00' * 8}")), errors.LostError),
        (lambda s: s.wait_token(s.token(), readers=r.Quorum()), errors.InvalidArgumentError),
        (lambda s: s.wait_token(b""), errors.InvalidArgumentError),
        (lambda s: s.wait_token(s.token(), readers=0), errors.InvalidArgumentError),
        (lambda s: s.on_acked(b"token", print), errors.InvalidArgumentError),
        (lambda s: s.on_acked(s.token(), None), TypeError),
        (lambda s: s.set_option("io_threads", 1), errors.NotFoundError),
        (lambda s: s.set_option("max_readers", 0), errors.InvalidArgumentError),
        (lambda s: s.option("wal_retain_ms"), errors.InvalidStateError),
        (lambda s: s.wait_durable(0, 0), errors.InvalidStateError),
        (lambda s: s.slots(), errors.InvalidStateError),
        (lambda s: s.drop_slot("nobody"), errors.InvalidStateError),
        (lambda s: s.start(), errors.InvalidStateError),
        (lambda s: pickle.dumps(s), TypeError),
    ],
)
def test_misuse_raises_its_own_error(sender, call, error):
    with pytest.raises(error) as raised:
        call(sender)
    assert str(raised.value)
    assert sender.replicate(b"it goes on") == 1


@pytest.mark.parametrize(
    "options",
    [
        {"buffer_size": 0},
        {"buffer_size": -1},
        {"buffer_bytes": 1},
        {"full_policy": 99},
        {"write_timeout_ms": 0},
        {"heartbeat_interval_ms": 0},
        {"min_heartbeat_ms": 9},
        {"heartbeat_interval_ms": 5, "peer_timeout_ms": 5},
        {"io_threads": 257},
        {"io_threads": 2**32},
        {"token": b"short"},
        {"token": bytes(48)},
        {"groups": {"": ["reader"]}},
        {"groups": {"east": []}},
        {"write_gate": r.WriteGate(1, level=9)},
        {"write_gate": r.WriteGate(5), "max_readers": 1},
        {"max_pending_acks": 0},
        {"max_handshakes": 0},
        {"max_handshakes_per_address": 65537},
        {"max_handshakes_per_network": 0},
        {"max_connection_rate_per_address": 2**32},
        {"wal_dir": ""},
        {"wal_sync": r.WalSync(r.SyncPolicy.GROUP, 0, 0)},
        {"wal_segment_bytes": 1},
        {"tls": r.SenderTls("", "")},
    ],
)
def test_a_wrong_option_is_refused(options):
    with pytest.raises(errors.InvalidArgumentError):
        r.Sender(**options)


def test_options_of_wrong_types_are_refused():
    for options in ({"buffer_size": "1"}, {"wal_dir": 3}, {"on_event": 3}, {"groups": {3: ["reader"]}}):
        with pytest.raises(TypeError):
            r.Sender(**options)

    async def coroutine(event):
        pass

    with pytest.raises(TypeError, match="coroutine"):
        r.Sender(on_event=coroutine)


def test_every_option_is_taken(tmp_path):
    with r.Sender(
        buffer_size=100,
        buffer_bytes=1 << 20,
        full_policy=r.FullPolicy.WAIT,
        full_wait_ms=1,
        write_timeout_ms=1000,
        handshake_timeout_ms=1000,
        heartbeat_interval_ms=100,
        min_heartbeat_ms=10,
        peer_timeout_ms=1000,
        stop_timeout_ms=100,
        max_readers=10,
        max_handshakes=8,
        max_handshakes_per_address=4,
        max_handshakes_per_network=6,
        max_connection_rate_per_address=100,
        io_threads=1,
        unix_socket_mode=0o660,
        token=r.parse_token(f"{bytes(range(16)).hex()}:3:0:{'00' * 8}"),
        groups={"east": ["east-*"], "west": ["west-1", "west-2"]},
        write_gate=r.WriteGate(0),
        max_pending_acks=5,
        wal_dir=tmp_path / "log",
        wal_sync=r.WalSync(r.SyncPolicy.GROUP, 1, 4096),
        wal_segment_bytes=1 << 20,
        wal_retain_bytes=1 << 21,
        wal_retain_ms=60_000,
        wal_timeout_ms=1000,
        slot_max_bytes=1 << 22,
        slot_expiry_ms=60_000,
        insecure_permissions_allowed=True,
    ) as sender:
        stats = sender.stats()
        assert stats["buffer_size"] == 100 and stats["stream_id"] == bytes(range(16)).hex() and stats["epoch"] == 3
        sender.replicate(b"kept")
        sender.wait_durable(1, timeout=10)
        token = sender.token()
        assert sender.slots() == []
        with pytest.raises(errors.NotFoundError):
            sender.drop_slot("nobody")
        with pytest.raises(errors.LockedError):
            r.Sender(wal_dir=tmp_path / "log")
    with r.Sender(wal_dir=tmp_path / "log") as again:
        assert (again.current_sequence, again.token()) == (1, token)
    with r.Sender(token=token, epoch=4) as promoted:
        assert promoted.replicate(b"next") == 2 and promoted.stats()["epoch"] == 4
    with r.Sender(last_sequence=41) as later:
        assert later.replicate(b"next") == 42


def test_acknowledgements(inbox):
    heard = []
    groups = {"east": ["east-*"], "west": ["west-1"]}
    with r.Sender(groups=groups, stop_timeout_ms=100) as sender:
        address = f"127.0.0.1:{sender.listen('127.0.0.1:0')}"
        both = r.Quorum({"east": 1, "west": 1})
        both.add(None, 1)
        with follow(address, inbox, "east-1"):
            token = sender.replicate_token(b"x")
            assert token == sender.token()
            assert sender.wait_acked(1, timeout=10) == sender.wait_token(token, timeout=10) == 1
            assert sender.acked(token) == (True, 1)
            assert sender.acked(bytearray(token), readers=both) == (False, 1)
            with pytest.raises(TimeoutError, match="west") as raised:
                sender.wait_token(token, readers=both, timeout=0.01)
            assert raised.value.status == r.Status.TIMEOUT
            sender.on_acked(token, lambda *told: heard.append(told), readers=both, timeout=20)
            with follow(address, inbox, "west-1"):
                assert sender.wait_token(token, r.AckLevel.APPLIED, both, timeout=10) == 2
                wait_until(lambda: heard)
                assert heard == [(r.Status.OK, 2)]
        sender.on_acked(token, lambda *told: heard.append(told), readers=9)
    assert heard[1:] == [(r.Status.CLOSED, 2)]


def test_an_entry_that_a_promotion_lost_is_told_lost(inbox):
    with r.Sender(stop_timeout_ms=100) as first:
        kept = first.replicate_token(b"kept")
        lost = first.replicate_token(b"lost")
    with r.Sender(token=kept, epoch=2) as promoted:
        mine = promoted.replicate_token(b"mine")
        assert r.compare_tokens(lost, mine) == r.TokenOrder.DIVERGED
        with pytest.raises(errors.LostError, match="entry 2 of epoch 1"):
            promoted.acked(lost)
        with pytest.raises(errors.LostError, match="epoch 2"):
            promoted.wait_acked(1, timeout=0)
        address = f"127.0.0.1:{promoted.listen('127.0.0.1:0')}"
        with follow(address, inbox, token=kept) as receiver:
            receiver.wait_token(mine, timeout=10)
            receiver.wait_token(kept, timeout=10)
            with pytest.raises(errors.LostError, match="entry 2 of epoch 1"):
                receiver.wait_token(lost, timeout=10)
            assert promoted.wait_token(kept, timeout=10) == 1


def test_options_change_on_a_live_sender(tmp_path):
    with r.Sender(wal_dir=tmp_path / "log") as sender:
        for name, value in {"max_readers": 7, "wal_retain_bytes": 1 << 40, "slot_expiry_ms": 5}.items():
            sender.set_option(name, value)
            assert sender.option(name) == value


def test_a_callback_that_raises_is_logged(sender, caplog):
    def fail(*_):
        raise ZeroDivisionError("in on_acked")

    token = sender.replicate_token(b"x")
    with caplog.at_level(logging.ERROR):
        sender.on_acked(token, fail, timeout=0)
        wait_until(lambda: "in on_acked" in caplog.text)


def test_the_write_gate_and_the_full_window():
    with r.Sender(write_gate=r.WriteGate(1, policy=r.GatePolicy.REFUSE)) as sender:
        with pytest.raises(errors.GatedError) as raised:
            sender.replicate(b"x")
        assert raised.value.sequence == 0
        with pytest.raises(errors.GatedError):
            sender.replicate_batch([b"x"])
        assert sender.current_sequence == 0
    with r.Sender() as sender:
        sender.set_writable(False)
        with pytest.raises(errors.NotWriterError):
            sender.replicate(b"x")


def test_it_serves_connections_of_the_host(sender):
    sender.replicate(b"x", timestamp_us=5)
    ours, theirs = socket.socketpair()
    with ours:
        sender.accept_reader(theirs, "reader", 0)
        assert theirs.fileno() == -1, "the connection was given away"
        wait_until(lambda: sender.reader_count == 1)
        messages = [read(ours), read(ours)]
        assert codec.parse_sync_ack(messages[0].json) == (1, True, "")
        assert codec.parse_entry(messages[1].json) == (1, 5, b"x")
        ours.sendall(codec.write_ack(1, "reader"))
        assert sender.wait_acked(1, r.AckLevel.RECEIVED, timeout=10) == 1
        sender.remove_reader("reader")
        wait_until(lambda: sender.reader_count == 0)
    ours, theirs = socket.socketpair()
    with ours:
        sender.accept_connection(theirs.detach())
        ours.sendall(codec.write_sync("other", 1))
        assert codec.parse_sync_ack(read(ours).json).can_resume


def read(connection: socket.socket) -> codec.Message:
    """A message of protocol v1."""
    head = connection.recv(4, socket.MSG_WAITALL)
    return codec.read_message(head + connection.recv(struct.unpack(">I", head)[0], socket.MSG_WAITALL))


def test_a_connection_that_is_refused_stays_the_hosts(sender):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        with pytest.raises(errors.BadDescriptorError):
            sender.accept_connection(datagrams)
        assert datagrams.fileno() >= 0
        os.fstat(datagrams.fileno())


def test_a_tls_socket_is_refused(sender):
    import ssl

    ours, theirs = socket.socketpair()
    with (
        ours,
        ssl.create_default_context().wrap_socket(theirs, do_handshake_on_connect=False, server_hostname="x") as tls,
    ):
        with pytest.raises(TypeError, match="option tls"):
            sender.accept_connection(tls)


def test_an_address_in_use(sender):
    port = sender.listen("127.0.0.1:0")
    with pytest.raises(errors.AddressInUseError) as raised:
        sender.listen(f"127.0.0.1:{port}")
    assert isinstance(raised.value, OSError) and str(port) in str(raised.value)


def test_a_unix_socket(sender, inbox, tmp_path):
    assert sender.listen(f"unix:{tmp_path}/socket") == 0
    with follow(f"unix:{tmp_path}/socket", inbox) as receiver:
        receiver.wait_sequence(sender.replicate(b"x"), timeout=10)


def test_stop_tells_who_was_behind():
    with r.Sender(stop_timeout_ms=20) as sender:
        ours, theirs = socket.socketpair()
        with ours:
            sender.accept_reader(theirs, "asleep", 0)
            wait_until(lambda: sender.reader_count == 1)
            sender.replicate_batch([bytes(1 << 20)] * 8)
            with pytest.raises(errors.TimedOutError, match="asleep"):
                sender.stop()
        with pytest.raises(errors.ClosedError):
            sender.replicate(b"x")
        assert sender.stats()["running"] is False
        sender.stop()
    with pytest.raises(errors.ClosedError):
        sender.stats()
    sender.close()
    assert sender.closed


def test_events_and_log_records(inbox, caplog):
    events = Events()
    with caplog.at_level(logging.DEBUG, logger="libreplication"):
        with r.Sender(on_event=events.append) as sender:
            address = f"127.0.0.1:{sender.listen('127.0.0.1:0')}"
            with follow(address, inbox, "ünïcode-☃"):
                event = events.wait(r.EventKind.CONNECTED)
            events.wait(r.EventKind.DISCONNECTED)
    assert event.status == r.Status.OK and event.reader_id == "ünïcode-☃" and event.detail["protocol"] == 2
    assert event.identity == "none"
    assert "127.0.0.1" in event.address and event.message and event.traceback is None
    records = [record for record in caplog.records if record.name == "libreplication.sender"]
    assert any(record.replication.get("event") == "CONNECTED" for record in records)


def test_an_event_handler_that_raises_is_logged(inbox, caplog):
    def fail(event):
        raise ZeroDivisionError("in on_event")

    with caplog.at_level(logging.ERROR), r.Sender(on_event=fail) as sender:
        address = f"127.0.0.1:{sender.listen('127.0.0.1:0')}"
        with follow(address, inbox) as receiver:
            receiver.wait_sequence(sender.replicate(b"x"), timeout=10)
            wait_until(lambda: "in on_event" in caplog.text)
