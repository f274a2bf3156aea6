"""Who may follow, and what readers may do."""

from __future__ import annotations

import socket

import pytest
from conftest import Events, Inbox, follow, wait_until

import libreplication as r
from libreplication import errors


def rights(sender: r.Sender, reader_id: str) -> str | None:
    rows = {row["reader_id"]: row["rights"] for row in sender.stats()["readers"]}
    return rows.get(reader_id)


def test_rules_say_who_may_follow():
    events, refused = Events(), Events()
    with r.Sender(access_rules="* * * allowed read,ack", on_event=events.append, stop_timeout_ms=100) as sender:
        address = f"127.0.0.1:{sender.listen('127.0.0.1:0')}"
        sender.replicate(b"secret")
        inbox = Inbox()
        with (
            follow(address, Inbox(), "stranger", on_event=refused.append) as stranger,
            follow(address, inbox, "allowed") as allowed,
        ):
            assert refused.wait(r.EventKind.REFUSED).status == r.Status.NOT_AUTHORIZED
            assert "no line of the access rules" in events.wait(r.EventKind.REFUSED).message
            allowed.wait_sequence(1, timeout=20)
            assert rights(sender, "allowed") == "read,ack"
            with pytest.raises(errors.InvalidArgumentError, match="line 1, column 9"):
                sender.set_access_rules("* * * * write")
            sender.set_access_rules("* * * stranger read")
            stranger.wait_sequence(1, timeout=20)
            wait_until(lambda: rights(sender, "allowed") is None, "the other one to be sent away")
        with pytest.raises(errors.InvalidStateError):
            sender.reload_access_file()


def test_a_file_of_rules_is_read_again(tmp_path):
    file = tmp_path / "access.conf"
    file.write_text("* * * a read\n")
    file.chmod(0o600)
    with r.Sender(access_file=file, stop_timeout_ms=100) as sender:
        address = f"127.0.0.1:{sender.listen('127.0.0.1:0')}"
        file.write_text("* * * b read\n")
        sender.reload_access_file()
        with follow(address, Inbox(), "b") as receiver:
            receiver.wait_sequence(sender.replicate(b"x"), timeout=20)
    for options in ({"access_rules": "read"}, {"access_rules": "* * * * read", "trusted_network": True}):
        with pytest.raises(errors.InvalidArgumentError):
            r.Sender(**options)
    with pytest.raises(OSError, match="missing.conf"):
        r.Sender(access_file=tmp_path / "missing.conf")


def test_the_host_gives_rights():
    with r.Sender(access_rules="* * * * deny", stop_timeout_ms=100) as sender:

        def connect(_: str) -> socket.socket:
            ours, theirs = socket.socketpair()
            sender.accept_connection(theirs, r.Right.READ | r.Right.ACK)
            return ours

        with follow("127.0.0.1:1", Inbox(), "handed", connect=connect) as receiver:
            receiver.wait_sequence(sender.replicate(b"x"), timeout=20)
            assert rights(sender, "handed") == "read,ack"
        ours, theirs = socket.socketpair()
        with pytest.raises(errors.InvalidArgumentError, match="read"):
            sender.accept_reader(theirs, "known", 0, r.Right.ACK)
        sender.accept_reader(theirs, "known", 0, r.Right.READ)
        wait_until(lambda: rights(sender, "known") == "read", "the reader")
        ours.close()


def test_a_writer_is_who_it_is_expected_to_be(address):
    events = Events()
    with follow(address, Inbox(), writer_identity="certificate uid:0", on_event=events.append) as receiver:
        assert events.wait(r.EventKind.REFUSED).status == r.Status.NOT_AUTHORIZED
        assert not receiver.connected
    with pytest.raises(errors.InvalidArgumentError, match="column 1"):
        r.Receiver("reader", address, Inbox(), writer_identity="nobody")


def test_the_host_decides_at_once_or_later():
    later, events = [], Events()
    sender = None

    def on_authorize(request):
        if request.reader_id == "now":
            sender.authorize(request.ticket, r.Right.READ | r.Right.ACK)
        elif request.reader_id == "never":
            sender.refuse(request.ticket, "it is not in the list")
        elif request.reader_id == "raises":
            raise ValueError("authorize")
        else:
            later.append(request)

    sender = r.Sender(on_event=events.append, on_authorize=on_authorize, stop_timeout_ms=100)
    with sender:
        address = f"127.0.0.1:{sender.listen('127.0.0.1:0')}"
        sequence = sender.replicate(b"x")
        with (
            follow(address, Inbox(), "now") as now,
            follow(address, Inbox(), "never"),
            follow(address, Inbox(), "raises"),
            follow(address, Inbox(), "waits") as waits,
        ):
            now.wait_sequence(sequence, timeout=20)
            assert rights(sender, "now") == "read,ack"
            assert "it is not in the list" in events.wait(r.EventKind.REFUSED).message
            wait_until(lambda: later, "the request")
            request = later[-1]
            assert (request.identity, request.tls, request.handed) == ("none", False, False)
            assert (request.sequence, request.stream_id) == (0, None)
            assert request.address.startswith("127.0.0.1:") and request.rights & r.Right.READ
            sender.authorize(request.ticket, r.Right.READ)
            waits.wait_sequence(sequence, timeout=20)
            for answer in (lambda: sender.authorize(request.ticket, r.Right.READ), lambda: sender.refuse(4711)):
                with pytest.raises(errors.NotFoundError):
                    answer()
