"""Records, through the msgpack package and through the library."""

from __future__ import annotations

import json
import os
import struct
import time
from random import Random

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
NOT_UTF_8 = b"\x91\x81\xa1k\xa2\xff\xfe"
KEY_TWICE = b"\x91\x82\xa1k\x01\xa1k\x02"
MOMENT = 1_514_862_245
ODD = [
    b"\x91\x81\xa2at\xd7\xff" + struct.pack(">Q", MOMENT),  # a timestamp in a longer form than it needs
    b"\x91\x81\xa2at\xc7\x0c\xff" + struct.pack(">Iq", 0, MOMENT),
    b"\x91\x81\xa2at\xc7\x04\xff" + struct.pack(">I", MOMENT),
    b"\x91\x81\xa2at\xc8\x00\x04\xff" + struct.pack(">I", MOMENT),
    b"\x91\x81\xa2at\xc9\x00\x00\x00\x04\xff" + struct.pack(">I", MOMENT),
    b"\x91\x82\xd6\xff\x00\x00\x00\x01\xa1a\xd7\xff" + struct.pack(">Q", 1) + b"\xa1b",  # one moment, two keys
    b"\x91\x82\x01\xa1a\xcc\x01\xa1b",  # an integer twice, in two forms
    b"\x91\x82\xa1k\xa1a\xc4\x01k\xa1b",  # a text and bytes with the same bytes
    b"\x91\x82\xcb\x7f\xf8\0\0\0\0\0\0\x01\xcb\x7f\xf8\0\0\0\0\0\0\x02",  # not a number twice, as keys
    b"\x91\x81\xa1k\x92\xd1\xff\xd6\xff",  # what looks like a timestamp
    b"\x91\x81\xd4\xff\x07\x01",  # a timestamp that is none, as a key
    NOT_UTF_8,
    b"\x91\x81\xa2\xff\xfe\x01",  # as a key
    KEY_TWICE,
    b"\x91\x81\xa1t\xd6\xff\x00\x00\x00\x01",  # a timestamp of 4 bytes
    b"\x91\x81\xa1f\xca\x3f\xc0\x00\x00",  # a float of 4 bytes
    b"\x91\x81\xa1t\xd4\xff\x07",  # a timestamp that is none
]
BAD = [b"", b"\x80", b"\x93\x01\x02\x03", b"\x91\x81", b"\x91\x80\x00", b"\xc1", b"\x01", b"\x92\x80\x01", b"text"]


# Keys that differ and are one in a dict.
CLASHES = [
    b"\x91\x82\x01\xa1a\xc3\xa1b",  # 1 and True
    b"\x91\x82\x00\xa1a\xc2\xa1b",  # 0 and False
    b"\x91\x82\x01\xa1a\xcb\x3f\xf0\0\0\0\0\0\0\xa1b",  # 1 and 1.0
    b"\x91\x82\xcb\0\0\0\0\0\0\0\0\xa1a\xcb\x80\0\0\0\0\0\0\0\xa1b",  # 0.0 and -0.0
    b"\x91\x81\xa1m\x91\x82\x01\xa1a\xc3\xa1b",  # further inside
]


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


def test_both_ways_give_the_same_of_random_payloads(monkeypatch):
    seed = int(os.environ.get("TEST_SEED", time.time_ns()))
    print("TEST_SEED =", seed)
    random = Random(seed)

    def value(depth):
        kind = random.randrange(11 if depth < 4 else 9)
        if kind == 9:
            return b"\x92" + value(depth + 1) + value(depth + 1)
        if kind == 10:
            return row(depth + 1)
        number = random.randrange(2**31)
        return [
            lambda: msgpack.packb(random.choice([None, True, False])),
            lambda: msgpack.packb(random.choice([0, 1, -1, 255, number, -number, 2**64 - 1])),
            lambda: msgpack.packb(random.choice([0.0, -0.0, 1.0, 1.5, float("inf")]), use_single_float=number % 2 == 0),
            lambda: msgpack.packb(random.choice(["", "k", "text", "\u2603", "x" * 40])),
            lambda: msgpack.packb(random.choice([b"", b"k", b"\xff\xd6\xff"])),
            lambda: msgpack.packb(msgpack.ExtType(number % 128, random.randbytes(number % 20))),
            lambda: b"\xd6\xff" + random.randbytes(4),
            lambda: b"\xc7" + bytes([number % 15]) + b"\xff" + random.randbytes(number % 15),
            lambda: bytes([0xA1 + number % 3]) + random.randbytes(1 + number % 3),  # seldom UTF-8
        ][kind]()

    def key():
        return random.choice([b"\xa1a", b"\xa1b", b"\xa2ab", value(9)])

    def row(depth=1):
        size = random.randrange(4)
        return bytes([0x80 + size]) + b"".join(key() + value(depth) for _ in range(size))

    def outcome(have_msgpack, payload):
        monkeypatch.setattr(records, "HAVE_MSGPACK", have_msgpack)
        try:
            return repr(r.decode_records(payload))
        except errors.DecodeFailedError as error:
            return str(error)

    for _ in range(3000):
        payload = b"\x92" + row() + row()
        if random.randrange(4) == 0:
            damaged = bytearray(payload)
            damaged[random.randrange(len(damaged))] = random.randrange(256)
            payload = bytes(damaged)
        assert outcome(True, payload) == outcome(False, payload), payload.hex()


def test_keys_that_clash_are_refused(decode):
    for payload in CLASHES:
        with pytest.raises(errors.DecodeFailedError, match="one key in a dict"):
            decode(payload)


def test_the_package_makes_the_objects_where_it_can(monkeypatch):
    def must_not(*_):
        raise AssertionError("taken from the library")

    monkeypatch.setattr(records, "_records", must_not)
    assert r.decode_records(PACKED[2]) == [ROWS[2]] and r.decode_records(PACKED[3]) == [ROWS[3]]
    with pytest.raises(AssertionError):
        r.decode_records(NOT_UTF_8)


def test_values(decode):
    assert decode(PACKED[3]) == [ROWS[3]]
    assert decode(bytearray(msgpack.packb(ROWS[:5]))) == ROWS[:5]
    assert decode(PACKED[5]) == [{"ext": (5, b"abcd")}]
    assert type(decode(PACKED[6])[0]["time"]) is r.ExtType
    assert decode(NOT_UTF_8) == [{"k": b"\xff\xfe"}] and decode(KEY_TWICE) == [{"k": 2}]


@pytest.mark.parametrize("payload", BAD)
def test_anything_else_is_refused(decode, payload):
    with pytest.raises(errors.DecodeFailedError):
        decode(payload)


@pytest.mark.parametrize("payload", [msgpack.packb([{"a": 1}]) + b"\0", b"\x91\x81\x90\x01"])
def test_trailing_bytes_and_keys_that_no_dict_holds_are_refused(decode, payload):
    with pytest.raises(errors.DecodeFailedError):
        decode(payload)


def test_deep_nesting_is_refused_and_does_no_harm(decode):
    def nested(levels):
        return b"\x91\x81\xa1a" + b"\x91" * levels + b"\xa1x"

    assert repr(decode(nested(126))).count("[") == 127
    for levels in (127, 400, 500, 1000, 100_000):
        with pytest.raises(errors.DecodeFailedError, match="128"):
            decode(nested(levels))


def test_the_memory_of_records_is_bounded(decode, sender, address):
    rows = msgpack.packb([{"k": i} for i in range(1000)])
    assert len(decode(rows, max_bytes=1 << 20)) == 1000
    with pytest.raises(errors.DecodeFailedError):
        decode(rows, max_bytes=1000)
    events = Events()
    sender.replicate(rows)
    sender.replicate(PACKED[3])
    options = {"records_max_bytes": 1000, "apply_policy": r.ApplyPolicy.SKIP, "on_event": events.append}
    inbox = Inbox()
    with follow(address, None, records=inbox.append, **options) as receiver:
        receiver.wait_sequence(2, timeout=10)
    assert [entry.sequence for entry in inbox] == [2]
    assert events.wait(r.EventKind.ENTRY_SKIPPED).detail["code"] == r.Status.DECODE_FAILED


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
    config = library.receiver_config_new()
    no_handler = r._raw.RecordFn(0)
    assert library.receiver_config_set_record_handler(config, no_handler, None, r._raw.FreeFn(0)) == 1
    library.receiver_config_free(config)


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
