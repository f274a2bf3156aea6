"""Messages of protocol v1."""

from __future__ import annotations

import pytest

from libreplication import codec, errors


def test_each_message_is_read_as_it_was_written():
    entry = codec.read_message(codec.write_entry(7, 8, b"\0payload"))
    assert entry.type == codec.ENTRY and codec.parse_entry(entry.json) == (7, 8, b"\0payload")
    empty = codec.read_message(codec.write_entry(1, 0, None))
    assert b"null" in empty.json and codec.parse_entry(empty.json) == (1, 0, b"")
    ack = codec.read_message(codec.write_ack(9, 'a"\x01☃'))
    assert ack.type == codec.ACK and codec.parse_ack(ack.json) == (9, 'a"\x01☃')
    sync = codec.read_message(codec.write_sync("reader", 3))
    assert sync.type == codec.SYNC and codec.parse_sync(sync.json) == ("reader", 3)
    assert codec.read_message(codec.write_sync("reader", 3, coordinator=True)).type == 0x10
    answer = codec.read_message(codec.write_sync_ack(4, False, "SEQUENCE_GAP: no"))
    assert answer.type == codec.SYNC_ACK and codec.parse_sync_ack(answer.json) == (4, False, "SEQUENCE_GAP: no")
    assert codec.read_message(codec.write_sync_ack(4, True, coordinator=True)).type == 0x11
    error = codec.read_message(codec.write_error("BUFFER_FULL", "no room"))
    assert error.type == codec.ERROR and codec.parse_error(error.json) == ("BUFFER_FULL", "no room")
    any_type = codec.write_message(0x77, b"{}")
    assert codec.read_message(any_type + b"rest") == (0x77, b"{}", len(any_type))


def test_wrong_bytes_raise_their_own_errors():
    whole = codec.write_ack(1, "reader")
    for length, text in ((0, "read length"), (4, "read type"), (len(whole) - 1, "read payload")):
        with pytest.raises(errors.TruncatedError, match=text):
            codec.read_message(whole[:length])
    with pytest.raises(errors.MessageTooSmallError, match="too small"):
        codec.read_message(bytes(5))
    with pytest.raises(errors.MessageTooLargeError, match="too large"):
        codec.read_message(b"\xff\xff\xff\xff\x10")
    for parse in (codec.parse_entry, codec.parse_ack, codec.parse_sync, codec.parse_sync_ack, codec.parse_error):
        for json in (b"", b"{", b"[]", b"7", b"\xff"):
            with pytest.raises(errors.InvalidMessageError):
                parse(json)
    for write, *arguments in ((codec.write_message, 256, b""), (codec.write_ack, -1, "x"), (codec.write_ack, 1, "\0")):
        with pytest.raises(errors.InvalidArgumentError):
            write(*arguments)
    with pytest.raises(TypeError):
        codec.read_message("text")
    with pytest.raises(errors.MessageTooLargeError):
        codec.write_message(1, bytes(101 << 20))


def test_a_text_of_escapes_has_room():
    json = b'{"last_sequence":1,"reader_id":"' + b"\\u2603" * 50 + b'"}'
    assert codec.parse_ack(json).reader_id == "☃" * 50
    json = b'{"last_sequence":1,"reader_id":"' + b"\xff" * 200 + b'"}'
    assert codec.parse_ack(json).reader_id == "\ufffd" * 200, "one replacement each, of three bytes"
