"""Records, through the msgpack package and through the library."""

from __future__ import annotations

import json

import msgpack
import pytest
from conftest import Events, Inbox, follow

import libreplication as r
from libreplication import errors, records

ROWS = [
    {},
    {"nil": None, "yes": True, "no": False},
    {"int": 1, "negative": -5, "min": -(2**63), "max": 2**63 - 1, "u64": 2**64 - 1},
    {"float": 1.5, "text": "ünïcode ☃", "bytes": b"\0\xff", "empty": "", "none": b""},
    {"list": [1, [2, [3, {}]]], "map": {"a": {"b": [None]}}, 7: "key", True: 1, b"k": 2, None: 3},
    {"ext": msgpack.ExtType(5, b"abcd")},
    {"time": msgpack.Timestamp(1_700_000_000, 5)},
]
PACKED = [msgpack.packb([row]) for row in ROWS] + [msgpack.packb(ROWS), msgpack.packb([])]
ODD = [
    b"\x91\x81\xa1k\xa2\xff\xfe",  # a string that is not UTF-8
    b"\x91\x81\xa2\xff\xfe\x01",  # as a key
    b"\x91\x82\xa1k\x01\xa1k\x02",  # a key twice
    b"\x91\x81\xa1t\xd6\xff\x00\x00\x00\x01",  # a timestamp of 4 bytes
    b"\x91\x81\xa1f\xca\x3f\xc0\x00\x00",  # a float of 4 bytes
    b"\x91\x81\xa1t\xd4\xff\x07",  # a timestamp that is none
]
BAD = [b"", b"\x80", b"\x93\x01\x02\x03", b"\x91\x81", b"\x91\x80\x00", b"\xc1", b"\x01", b"\x92\x80\x01", b"text"]


@pytest.fixture(params=["msgpack", "library"])
def decode(request, monkeypatch):
    monkeypatch.setattr(records, "HAVE_MSGPACK", request.param == "msgpack")
    return r.decode_records


@pytest.mark.parametrize("payload", PACKED + ODD)
def test_both_ways_give_the_same(payload, monkeypatch):
    by_msgpack = r.decode_records(payload)
    monkeypatch.setattr(records, "HAVE_MSGPACK", False)
    by_library = r.decode_records(payload)
    assert repr(by_msgpack) == repr(by_library)
    assert len(json.loads(r.records_json(payload))) == len(by_library)


def test_values(decode):
    assert decode(PACKED[3]) == [ROWS[3]]
    assert decode(bytearray(msgpack.packb(ROWS[:5]))) == ROWS[:5]
    assert decode(PACKED[5]) == [{"ext": (5, b"abcd")}]
    assert type(decode(PACKED[6])[0]["time"]) is r.ExtType
    assert decode(ODD[0]) == [{"k": b"\xff\xfe"}] and decode(ODD[2]) == [{"k": 2}]


@pytest.mark.parametrize("payload", BAD)
def test_anything_else_is_refused(decode, payload):
    with pytest.raises(errors.DecodeFailedError):
        decode(payload)


@pytest.mark.parametrize("payload", [msgpack.packb([{"a": 1}]) + b"\0", b"\x91\x81\x90\x01"])
def test_trailing_bytes_and_keys_that_no_dict_holds_are_refused(decode, payload):
    with pytest.raises(errors.DecodeFailedError):
        decode(payload)


def test_deep_nesting_is_refused_and_does_no_harm(decode):
    with pytest.raises(errors.DecodeFailedError):
        decode(b"\x91\x81\xa1a" + b"\x91" * 100_000 + b"\xc0")


def test_one_value():
    payload = msgpack.packb(ROWS)
    assert r.record_value(payload, 3, "text") == "ünïcode ☃"
    with pytest.raises(errors.NotFoundError, match="nowhere"):
        r.record_value(payload, 0, "nowhere")
    with pytest.raises(LookupError):
        r.record_value(payload, 99, "x")


def test_the_rest_of_the_interface():
    """Functions that only hosts in C need are there as well."""
    import ctypes

    library = r._native.library()
    parsed, row, value = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    payload = PACKED[4]
    assert library.replication_records_parse(payload, len(payload), ctypes.byref(parsed)) == 0
    assert library.replication_records_row(parsed, 0, ctypes.byref(row)) == 0
    assert library.replication_value_get(row, b"list", ctypes.byref(value)) == 0
    assert library.replication_value_count(value) == 2
    library.replication_records_free(parsed)


@pytest.mark.parametrize("have_msgpack", [True, False])
def test_a_handler_of_records(sender, address, monkeypatch, have_msgpack):
    monkeypatch.setattr(records, "HAVE_MSGPACK", have_msgpack)
    inbox, events = Inbox(), Events()
    sender.replicate(PACKED[3], timestamp_us=9)
    sender.replicate(b"not msgpack")
    sender.replicate(msgpack.packb(ROWS[:5]))
    policy = {"apply_policy": r.ApplyPolicy.SKIP, "on_event": events.append}
    with follow(address, None, records=inbox.append, **policy) as receiver:
        receiver.wait_sequence(3, timeout=10)
    assert inbox == [(1, 9, [ROWS[3]]), (3, inbox[1].timestamp_us, ROWS[:5])]
    assert type(inbox[0]) is r.Records
    assert events.wait(r.EventKind.ENTRY_SKIPPED).detail["code"] == r.Status.DECODE_FAILED
