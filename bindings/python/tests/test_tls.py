"""TLS, by the options of the two ends."""

from __future__ import annotations

import pytest
from conftest import Events, Inbox, follow

import libreplication as r
from libreplication import errors

# An authority, and a certificate for 127.0.0.1 and writer.example that it issued; those of tests/c/tls.c. They and the
# key are good for nothing but tests.
AUTHORITY = """\
-----BEGIN CERTIFICATE-----
MIIBeDCCAR6gAwIBAgIUS/fsnDnpY0FmNzowbD6fv7j2Jk0wCgYIKoZIzj0EAwIw
ITEfMB0GA1UEAwwWcmNnZW4gc2VsZiBzaWduZWQgY2VydDAgFw03NTAxMDEwMDAw
MDBaGA80MDk2MDEwMTAwMDAwMFowITEfMB0GA1UEAwwWcmNnZW4gc2VsZiBzaWdu
ZWQgY2VydDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABAEAFafjn6iWXFtGWnTZ
CMnCdrJX0kDfAwqbxnI8qSROHVUjxanEm5tZmhVDFyRtJFyz4pXND7clQlbPWYQJ
y22jMjAwMB0GA1UdDgQWBBS4fv06fQvI89jTqM3VEwvubuC5YjAPBgNVHRMBAf8E
BTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIAoIwRvgFhSU0ezkwyade8zXyOUsIgOq
PcV2w53GwiDDAiEA4IzK22htF8MF059fFgbTBPouP/s9TWYmZyWu1Ci9dvQ=
-----END CERTIFICATE-----
"""
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBaTCCAQ+gAwIBAgIUIbLZF1YgOxe7i/XdvhIxuy+0KNAwCgYIKoZIzj0EAwIw
ITEfMB0GA1UEAwwWcmNnZW4gc2VsZiBzaWduZWQgY2VydDAgFw03NTAxMDEwMDAw
MDBaGA80MDk2MDEwMTAwMDAwMFowITEfMB0GA1UEAwwWcmNnZW4gc2VsZiBzaWdu
ZWQgY2VydDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABMcQAd1H6cqhrsLpDBpz
e5UjvyML+YbukoUr5g4ISCbzFcDErYLRrEEweLCRS1oyKXs7sddCktKI+0dUZwB6
MX2jIzAhMB8GA1UdEQQYMBaHBH8AAAGCDndyaXRlci5leGFtcGxlMAoGCCqGSM49
BAMCA0gAMEUCIQCiGgXNmq+g3Zss+yMQh1ZTkw9oziCMg63SKKFPyW6/YgIgApzt
hlnMh4kk7I6cxM5IXmDYUsW4lGMZR7Du8CP3TJo=
-----END CERTIFICATE-----
"""
PRIVATE_KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgmOg9iHE0pDOpisX9
4xoDyV0yPG2xZCbqIfih3MNuOrmhRANCAATHEAHdR+nKoa7C6Qwac3uVI78jC/mG
7pKFK+YOCEgm8xXAxK2C0axBMHiwkUtaMil7O7HXQpLSiPtHVGcAejF9
-----END PRIVATE KEY-----
"""


@pytest.fixture
def files(tmp_path):
    """The paths of the authority, the certificate, the key, and of a file that is none of these."""
    texts = {"ca.pem": AUTHORITY, "chain.pem": CERTIFICATE, "key.pem": PRIVATE_KEY, "text.pem": "no PEM"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        # A key is for its owner only.
        (tmp_path / name).chmod(0o600)
    return [tmp_path / name for name in texts]


def test_entries_go_to_readers_with_a_certificate_only(files):
    ca, chain, key, _ = files
    events, unknown = Events(), Inbox()
    with r.Sender(tls=r.SenderTls(chain, str(key), ca), on_event=events.append, stop_timeout_ms=100) as sender:
        address = f"127.0.0.1:{sender.listen('127.0.0.1:0')}"
        for name in (None, "writer.example"):
            inbox = Inbox()
            with follow(address, inbox, "writer.example", tls=r.ReceiverTls(ca, name, chain, key)) as receiver:
                receiver.wait_sequence(sender.replicate(b"secret"), timeout=20)
                assert receiver.stats()["tls"] is True and inbox[-1].data == b"secret"
        with follow(address, unknown, "stranger", tls=r.ReceiverTls(ca)):
            assert "TLS with 127.0.0.1:" in events.wait(r.EventKind.PROTOCOL_ERROR).message
    assert not unknown


def test_a_certificate_for_another_name_is_not_followed(files):
    ca, chain, key, _ = files
    events, inbox = Events(), Inbox()
    with r.Sender(tls=r.SenderTls(chain, key), stop_timeout_ms=100) as sender:
        address = f"127.0.0.1:{sender.listen('127.0.0.1:0')}"
        sender.replicate(b"secret")
        tls = r.ReceiverTls(ca, "other.example")
        with follow(address, inbox, tls=tls, on_event=events.append) as receiver:
            assert events.wait(r.EventKind.DISCONNECTED).status != r.Status.OK
            assert not receiver.connected
    assert not inbox


def test_files_that_cannot_be_used_are_named(files, tmp_path):
    ca, chain, key, text = files
    for tls in (r.SenderTls(chain, text), r.SenderTls(chain, key, text)):
        with pytest.raises(errors.InvalidArgumentError, match="text.pem"):
            r.Sender(tls=tls)
    with pytest.raises(errors.IOFailedError, match="missing.pem"):
        r.Sender(tls=r.SenderTls(tmp_path / "missing.pem", key))
    for tls in (r.ReceiverTls(text), r.ReceiverTls(ca, "no name"), r.ReceiverTls(ca, None, chain)):
        with pytest.raises(errors.InvalidArgumentError):
            r.Receiver("reader", "127.0.0.1:1", print, tls=tls)


def test_certificates_are_renewed_while_connections_live(files):
    ca, chain, key, text = files
    inbox = Inbox()
    with r.Sender(tls=r.SenderTls(chain, key, ca), stop_timeout_ms=100) as sender:
        address = f"127.0.0.1:{sender.listen('127.0.0.1:0')}"
        tls = r.ReceiverTls(ca, None, chain, key)
        with follow(address, inbox, "writer.example", tls=tls) as receiver:
            receiver.wait_sequence(sender.replicate(b"one"), timeout=20)
            sender.reload_tls(recheck=True)
            sender.set_tls(r.SenderTls(chain, key, ca), recheck=True)
            receiver.reload_tls()
            receiver.set_tls(tls)
            for refused in (
                lambda: sender.set_tls(r.SenderTls(chain, text)),
                lambda: sender.set_tls(r.SenderTls(chain, key, ca, text)),
                lambda: receiver.set_tls(r.ReceiverTls(text)),
                lambda: r.Sender(tls=r.SenderTls(chain, key, ca, text)),
            ):
                with pytest.raises(errors.InvalidArgumentError):
                    refused()
            sender.remove_reader("writer.example")
            receiver.wait_sequence(sender.replicate(b"two"), timeout=20)
    with r.Sender() as plain, pytest.raises(errors.InvalidStateError):
        plain.reload_tls()
