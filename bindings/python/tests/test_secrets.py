"""Secrets that readers and writers prove to each other."""

from __future__ import annotations

import pickle

import pytest
from conftest import Events, Inbox, follow

import libreplication as r
from libreplication import errors

RANDOM = bytes(range(32))
PHRASE = "correct horse battery"


def secret_of(byte: int) -> r.Secret:
    """A secret of 32 times this byte."""
    return r.Secret.from_bytes("cluster", "readers", bytes([byte]) * 32)


def proving(secret: r.Secret, **options) -> r.Sender:
    """A sender that only readers with the secret may follow, also without TLS."""
    rules = "* * secret:readers * read,ack"
    return r.Sender(secrets=[secret], access_rules=rules, plain_secrets_allowed=True, stop_timeout_ms=100, **options)


@pytest.mark.parametrize("is_passphrase", [False, True])
def test_both_ends_prove_a_secret(tmp_path, is_passphrase):
    file = tmp_path / "secret"
    file.write_bytes((PHRASE.encode() if is_passphrase else RANDOM) + b"\n")
    file.chmod(0o600)
    if is_passphrase:
        secret = r.Secret.from_passphrase("cluster", "readers", PHRASE)
    else:
        secret = r.Secret.from_bytes("cluster", "readers", RANDOM)
    with proving(secret) as sender:
        address = f"127.0.0.1:{sender.listen('127.0.0.1:0')}"
        from_file = r.Secret.from_file("cluster", "readers", file, is_passphrase=is_passphrase)
        options = {"secret": from_file, "plain_secrets_allowed": True, "writer_identity": "secret:readers"}
        with follow(address, Inbox(), **options) as receiver:
            receiver.wait_sequence(sender.replicate(b"x"), timeout=20)
            assert sender.stats()["readers"][0]["identity"] == "secret:readers"


@pytest.mark.parametrize("secret", [secret_of(2), None])
def test_a_secret_that_is_not_proven(secret):
    events, refused = Events(), Events()
    with proving(secret_of(1), on_event=events.append) as sender:
        address = f"127.0.0.1:{sender.listen('127.0.0.1:0')}"
        with follow(address, Inbox(), secret=secret, plain_secrets_allowed=True, on_event=refused.append) as receiver:
            assert refused.wait(r.EventKind.REFUSED).status == r.Status.NOT_AUTHORIZED
            assert events.wait(r.EventKind.REFUSED).status == r.Status.NOT_AUTHORIZED
            assert not receiver.connected


def test_over_plain_tcp_both_hosts_allow_secrets():
    events = Events()
    with proving(secret_of(1)) as sender:
        address = f"127.0.0.1:{sender.listen('127.0.0.1:0')}"
        with follow(address, Inbox(), secret=secret_of(1), on_event=events.append):
            assert "plain_secrets_allowed" in events.wait(r.EventKind.REFUSED).message


def test_a_secret_takes_the_place_of_another():
    events = Events()
    with proving(secret_of(1)) as sender:
        address = f"127.0.0.1:{sender.listen('127.0.0.1:0')}"
        options = {"secret": secret_of(1), "plain_secrets_allowed": True, "on_event": events.append}
        with follow(address, Inbox(), **options) as receiver:
            receiver.wait_sequence(sender.replicate(b"x"), timeout=20)
            sender.add_secret(secret_of(2))
            with pytest.raises(errors.InvalidStateError, match="readers"):
                sender.add_secret(secret_of(3))
            receiver.set_secret(secret_of(2))
            sender.remove_secret("readers")
            assert events.wait(r.EventKind.DISCONNECTED).status == r.Status.NOT_AUTHORIZED
            receiver.wait_sequence(sender.replicate(b"y"), timeout=20)
            receiver.set_secret(None)
            sender.remove_secret("readers")
            events.wait(r.EventKind.REFUSED)
            with pytest.raises(errors.NotFoundError, match="readers"):
                sender.remove_secret("readers")
            with pytest.raises(TypeError):
                receiver.set_secret("secret")
            receiver.stop()
            with pytest.raises(errors.ClosedError):
                receiver.set_secret(None)
        with pytest.raises(TypeError):
            sender.add_secret(RANDOM)
        sender.stop()
        with pytest.raises(errors.ClosedError):
            sender.add_secret(secret_of(1))


def test_secrets_are_checked_when_they_are_made(tmp_path):
    file = tmp_path / "secret"
    file.write_bytes(RANDOM)
    file.chmod(0o644)
    for make in (
        lambda: r.Secret.from_bytes("", "n", RANDOM[:31]),
        lambda: r.Secret.from_bytes("", "", RANDOM),
        lambda: r.Secret.from_bytes("", "a\nb", RANDOM),
        lambda: r.Secret.from_passphrase("", "n", "eleven byte"),
        lambda: r.Secret.from_file("", "n", file),
        lambda: r.Sender(secrets=[None]),
    ):
        with pytest.raises(errors.InvalidArgumentError):
            make()
    with pytest.raises(errors.IOFailedError, match="nowhere"):
        r.Secret.from_file("", "n", "/nowhere/secret")
    for wrong in (
        r.Secret,
        lambda: r.Secret.from_passphrase("", "n", RANDOM),
        lambda: r.Sender(secrets=["secret"]),
        lambda: pickle.dumps(secret_of(1)),
    ):
        with pytest.raises(TypeError):
            wrong()
    secret = r.Secret.from_file("", "n", file, insecure_permissions_allowed=True)
    assert repr(secret) == "<Secret 'n'>" and secret.name == "n"
