"""The scenarios that every binding runs: tests/scenarios/scenarios.json, whose README.md defines each verb."""

from __future__ import annotations

import base64
import json
import logging
import math
import os
import socket
import struct
import threading

import pytest
from conftest import ROOT, wait_until

import libreplication as r
from libreplication import ReplicationError, codec, constants, errors

DIRECTORY = ROOT / "tests/scenarios"
if not DIRECTORY.exists():
    pytest.skip("this tree has no scenarios", allow_module_level=True)
LIST = json.loads((DIRECTORY / "scenarios.json").read_text())

# Python brings no buffers of its own.
LACKS = {"buffers"}
# What is there when tests/scenarios/trouble.c is loaded with LD_PRELOAD, as `make test-python` does.
WITH_TROUBLE = {"disk", "memory"}
HAS_TROUBLE = "trouble.so" in os.environ.get("LD_PRELOAD", "")
KNOWN_NEEDS = {"descriptors", "fork", "messages", "records", "values"} | LACKS | WITH_TROUBLE

TIMESTAMP_US = 1_700_000_000_000_000
COMMON = {"do", "on", "expect", "message", "background"}
LEVELS = {"ERROR": logging.ERROR, "WARN": logging.WARNING, "INFO": logging.INFO, "DEBUG": logging.DEBUG}


def payload_of(sequence, size=64):
    period = bytes((31 * sequence + index) % 256 for index in range(256))
    return (period * (size // 256 + 1))[:size]


def as_json(value):
    """What the library's JSON of a value would be."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, tuple):
        return {"ext": value[0], "data": base64.b64encode(value[1]).decode()}
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class Heard(logging.Handler):
    """What an object told: events and log records; and what its handler has taken."""

    def __init__(self, name):
        super().__init__()
        self.logger = logging.Logger(name, logging.DEBUG)
        self.logger.addHandler(self)
        self.events, self.records, self.entries, self.decoded = [], [], [], []
        self.stopped_inside = None
        self.subject = None
        self.made = threading.Event()

    def emit(self, record):
        self.records.append(record)

    def stop_inside(self):
        """The first time only."""
        if self.stopped_inside is None:
            assert self.made.wait(20)
            self.stopped_inside = status_of(self.subject.stop)


class Handler:
    """A receiver's handler, of any kind."""

    def __init__(self, heard, step):
        self.heard = heard
        self.fail = dict(step.get("fail") or {"sequence": 0, "times": 0})
        self.stops = step.get("stop_inside", False)
        self.go_on = threading.Event()
        if not step.get("held", False):
            self.go_on.set()

    def take(self, entries):
        self.go_on.wait()
        if self.stops:
            self.heard.stop_inside()
        for entry in entries:
            if entry.sequence == self.fail["sequence"] and self.fail["times"] > 0:
                self.fail["times"] -= 1
                raise ZeroDivisionError("this entry fails")
        for entry in entries:
            assert not self.heard.entries or entry.sequence > self.heard.entries[-1].sequence
            self.heard.entries.append(entry)

    def entry(self, entry):
        self.take([entry])

    def batch(self, batch):
        self.take(list(batch))

    def record(self, records):
        self.take([records])
        self.heard.decoded.append(as_json(records.records))


def secret_of(given):
    """A secret from its cluster, its name and a text with its bytes."""
    cluster, name, secret = given
    return r.Secret.from_bytes(cluster, name, secret.encode())


def status_of(call):
    """The status that a call ends with, and its text."""
    try:
        call()
        return "OK", ""
    except ReplicationError as error:
        return error.name, str(error)


class Scenario:
    """A run of one scenario."""

    def __init__(self, directory):
        self.directory = directory
        self.senders, self.receivers, self.peers = {}, {}, {}
        self.heard, self.handlers, self.tokens, self.orders = {}, {}, {}, {}
        self.addresses, self.calls = {}, {}

    def run(self, step):
        verb = getattr(self, step["do"].replace(".", "_"), None)
        assert verb is not None, f"unknown verb {step['do']}"
        keys = {key: value for key, value in step.items() if key not in COMMON}
        name = step.get("on")
        call = (lambda: verb(name, **keys)) if name is not None else (lambda: verb(**keys))
        if "background" in step:
            self.in_background(step["background"], call)
            return
        status, text = status_of(call)
        assert status == step.get("expect", "OK"), f"{step}: {text or status}"
        assert step.get("message", "") in text, f"{step}: {text}"

    def in_background(self, name, call):
        told = []
        thread = threading.Thread(target=lambda: told.append(status_of(call)))
        assert name not in self.calls
        self.calls[name] = (thread, told)
        thread.start()

    def join(self, step):
        thread, told = self.calls.pop(step["on"])
        thread.join(40)
        assert told and told[0][0] == step.get("expect", "OK"), f"{step}: {told}"
        assert step.get("message", "") in told[0][1], f"{step}: {told}"

    def close(self):
        for handler in self.handlers.values():
            handler.go_on.set()
        for peer in self.peers.values():
            peer.close()
        for subject in [*self.receivers.values(), *self.senders.values()]:
            subject.close()
        assert not self.calls, "every background call must have been joined"

    # ---- senders ----

    def options(self, config):
        """The options of Python for those of a scenario."""
        options = {}
        for key, value in (config or {}).items():
            if key == "full_policy":
                policy, wait_ms = value if isinstance(value, list) else (value, 0)
                options.update(full_policy=number(r.FullPolicy, policy), full_wait_ms=wait_ms)
            elif key == "apply_policy":
                policy, retries = value if isinstance(value, list) else (value, 0)
                options.update(apply_policy=number(r.ApplyPolicy, policy), apply_retries=retries)
            elif key == "protocol":
                options[key] = number(r.Protocol, value)
            elif key == "gap_policy":
                options[key] = number(r.GapPolicy, value)
            elif key == "write_gate":
                readers, entries, ms, level, policy, wait_ms = value
                gate = (number(r.AckLevel, level), number(r.GatePolicy, policy), wait_ms)
                options[key] = r.WriteGate(readers, entries, ms, *gate)
            elif key == "wal_sync":
                options[key] = r.WalSync(number(r.SyncPolicy, value[0]), *value[1:])
            elif key == "secrets":
                options[key] = [secret_of(each) for each in value]
            elif key == "secret":
                options[key] = secret_of(value)
            elif key == "wal_dir":
                options[key] = self.directory / value
            elif key == "token":
                if isinstance(value, list):
                    options.update(token=self.tokens[value[0]], epoch=value[1])
                else:
                    options[key] = self.tokens[value]
            else:
                options[key] = value
        return options

    def files(self, *names):
        return [None if name is None else self.directory / name for name in names]

    def sender_new(self, name, config=None, stop_inside=False):
        heard = Heard(name)

        def on_event(event):
            if stop_inside:
                heard.stop_inside()
            heard.events.append(event)

        options = self.options(config)
        if "tls" in options:
            options["tls"] = r.SenderTls(*self.files(*options["tls"]))
        sender = r.Sender(on_event=on_event, logger=heard.logger, **options)
        self.senders[name], self.heard[name] = sender, heard
        heard.subject = sender
        heard.made.set()

    def sender_start(self, name):
        self.senders[name].start()

    def sender_listen(self, name, address=None, same_as=None):
        if address is None:
            address = "127.0.0.1:0" if same_as is None else self.addresses[same_as]
        address = address.replace("{tmp}", str(self.directory))
        port = self.senders[name].listen(address)
        if port:
            address = f"{address.rsplit(':', 1)[0]}:{port}"
        self.addresses[name] = address

    def sender_accept_connection(self, name, peer, closed=False):
        ours, theirs = socket.socketpair()
        if closed:
            fd = theirs.fileno()
            theirs.close()
            ours.close()
            self.senders[name].accept_connection(fd)
            return
        self.add_peer(peer, ours)
        try:
            self.senders[name].accept_connection(theirs)
        except ReplicationError:
            theirs.close()
            raise

    def sender_replicate(self, name, count=1, bytes=64):
        sender = self.senders[name]
        for _ in range(count):
            sequence = sender.current_sequence + 1
            assert sender.replicate(payload_of(sequence, bytes), TIMESTAMP_US) == sequence

    def sender_replicate_batch(self, name, count=1, bytes=64):
        sender = self.senders[name]
        first = sender.current_sequence + 1
        payloads = [payload_of(first + index, bytes) for index in range(count)]
        assert sender.replicate_batch(payloads, TIMESTAMP_US) == first

    def sender_replicate_hex(self, name, payloads):
        for payload in payloads:
            self.senders[name].replicate(bytes.fromhex(payload), TIMESTAMP_US)

    def sender_replicate_in_child(self, name):
        child = os.fork()
        if child == 0:
            status = 255
            try:
                status = r.Status[status_of(lambda: self.senders[name].replicate(b"x"))[0]]
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            raise errors.error_of(status, "in the child")

    def sender_remove_reader(self, name, reader_id):
        self.senders[name].remove_reader(reader_id)

    def sender_add_secret(self, name, secret):
        self.senders[name].add_secret(secret_of(secret))

    def sender_remove_secret(self, subject, name):
        self.senders[subject].remove_secret(name)

    def sender_set_writable(self, name, writable):
        self.senders[name].set_writable(writable)

    def sender_wait_acked(self, name, sequence, level, readers, timeout_ms=20000):
        self.senders[name].wait_acked(sequence, r.AckLevel[level], readers, timeout_ms / 1000)

    def sender_replicate_token(self, name, token, bytes=64):
        sender = self.senders[name]
        payload = payload_of(sender.current_sequence + 1, bytes)
        self.tokens[token] = sender.replicate_token(payload, TIMESTAMP_US)

    def sender_wait_token(self, name, token, level, readers=None, quorum=(), timeout_ms=20000):
        wanted = r.Quorum() if readers is None else readers
        for group, count in quorum:
            wanted.add(group, count)
        self.senders[name].wait_token(self.tokens[token], r.AckLevel[level], wanted, timeout_ms / 1000)

    def sender_acked(self, name, token, level, readers):
        sender = self.senders[name]
        if not sender.acked(self.tokens[token], r.AckLevel[level], readers).enough:
            # In Python the answer is no error; the status tells the two kinds of no apart.
            status = r.Status.TIMEOUT if sender.stats()["running"] else r.Status.CLOSED
            raise errors.error_of(status, "not enough")

    def sender_on_acked(self, name, token, level, readers, order, timeout_ms=20000):
        told = self.orders[order] = []
        self.senders[name].on_acked(
            self.tokens[token],
            lambda status, count: told.append(status.name),
            r.AckLevel[level],
            readers,
            timeout_ms / 1000,
        )

    def sender_wait_durable(self, name, sequence, timeout_ms=20000):
        self.senders[name].wait_durable(sequence, timeout_ms / 1000)

    def sender_drop_slot(self, name, reader_id):
        self.senders[name].drop_slot(reader_id)

    def sender_token(self, name, token):
        self.tokens[token] = self.senders[name].token()

    def sender_set_option(self, subject, name, value):
        self.senders[subject].set_option(name, value)

    def sender_stop(self, name):
        self.senders[name].stop()

    def sender_free(self, name):
        self.senders.pop(name).close()

    # ---- tokens ----

    def token_parse(self, text, token):
        self.tokens[token] = r.parse_token(text)

    def token_print(self, token, text):
        assert r.token_text(self.tokens[token]) == text

    def token_compare(self, first, second, order):
        assert r.compare_tokens(self.tokens[first], self.tokens[second]).name == order

    # ---- receivers ----

    def receiver_new(self, name, of=None, config=None, handler="entry", **step):
        assert set(step) <= {"fail", "held", "stop_inside"}, step
        heard = Heard(name)
        chosen = Handler(heard, step)
        options = {"reader_id": name, "reconnect_interval_ms": 100, "ack_interval_ms": 10}
        if of is not None:
            options["writer_addr"] = self.addresses[of]
        options.update(self.options(config))
        if "tls" in options:
            ca_file, server_name, chain, key = options["tls"]
            options["tls"] = r.ReceiverTls(*self.files(ca_file), server_name, *self.files(chain, key))
        if handler == "batch":
            options.update(batch_handler=chosen.batch, max_entries=16)
        elif handler == "record":
            options.update(records=chosen.record)
        else:
            assert handler == "entry"
            options.update(handler=chosen.entry)
        # What a constructor of Python must be given is missing: empty is refused in the same way.
        options.setdefault("writer_addr", "")
        receiver = r.Receiver(on_event=heard.events.append, logger=heard.logger, **options)
        self.receivers[name], self.heard[name], self.handlers[name] = receiver, heard, chosen
        heard.subject = receiver
        heard.made.set()

    def receiver_start(self, name):
        self.receivers[name].start()

    def receiver_pause(self, name):
        self.receivers[name].pause()

    def receiver_resume(self, name):
        self.receivers[name].resume()

    def receiver_release(self, name):
        self.handlers[name].go_on.set()

    def receiver_wait_sequence(self, name, sequence, timeout_ms=20000):
        self.receivers[name].wait_sequence(sequence, timeout_ms / 1000)

    def receiver_wait_token(self, name, token, timeout_ms=20000):
        self.receivers[name].wait_token(self.tokens[token], timeout_ms / 1000)

    def receiver_set_option(self, subject, name, value):
        self.receivers[subject].set_option(name, value)

    def receiver_set_secret(self, name, secret):
        self.receivers[name].set_secret(None if secret is None else secret_of(secret))

    def receiver_token(self, name, token):
        self.tokens[token] = self.receivers[name].token()

    def receiver_stop(self, name):
        self.receivers[name].stop()

    def receiver_free(self, name):
        self.handlers[name].go_on.set()
        self.receivers.pop(name).close()

    # ---- expectations ----

    def expect_entries(self, name, entries):
        wanted = []
        for first, last, *size in entries:
            wanted += [(sequence, TIMESTAMP_US, payload_of(sequence, *size)) for sequence in range(first, last + 1)]
        self.eventually(lambda: [tuple(entry) for entry in list(self.heard[name].entries)], wanted)

    def expect_payloads(self, name, payloads):
        wanted = [bytes.fromhex(payload) for payload in payloads]
        self.eventually(lambda: [entry.payload for entry in list(self.heard[name].entries)], wanted)

    def expect_records(self, name, records):
        self.eventually(lambda: list(self.heard[name].decoded), records)

    def expect_get(self, name, what, equals):
        subject = {**self.senders, **self.receivers}[name]
        attribute = {"is_connected": "connected"}.get(what, what)
        self.eventually(lambda: getattr(subject, attribute), equals)

    def expect_option(self, subject, name, equals):
        assert {**self.senders, **self.receivers}[subject].option(name) == equals

    def expect_stat(self, name, path, **wanted):
        ((condition, value),) = wanted.items()
        assert condition in ("equals", "at_least")
        if condition == "equals":
            self.eventually(lambda: self.stat(name, path), value)
        else:
            wait_until(lambda: (self.stat(name, path) or 0) >= value, f"{path} of at least {value}")

    def expect_keys(self, name, keys, path=""):
        wait_until(lambda: set(keys) <= set(self.stat(name, path) or ()), f"{keys} at {path!r}")

    def expect_event(self, name, kind, status=None, sequence=None, at_least=1):
        def fits(event):
            return (
                event.kind == r.EventKind[kind]
                and (status is None or event.status == r.Status[status])
                and (sequence is None or event.sequence == sequence)
            )

        heard = self.heard[name]
        wait_until(lambda: sum(map(fits, list(heard.events))) >= at_least, f"{kind} among {heard.events}")

    def expect_log(self, name, level, event):
        def fits(record):
            return record.levelno == LEVELS[level] and record.replication.get("event") == event

        wait_until(lambda: any(map(fits, list(self.heard[name].records))), f"a log record of {event}")

    def expect_acked(self, name, status):
        self.eventually(lambda: self.orders[name], [status])

    def expect_stopped_inside(self, name, status):
        wait_until(lambda: self.heard[name].stopped_inside is not None, "the stop inside a handler")
        assert self.heard[name].stopped_inside[0] == status

    def eventually(self, ask, wanted):
        last = []

        def equal():
            last[:] = [ask()]
            return last[0] == wanted

        try:
            wait_until(equal)
        except AssertionError:
            raise AssertionError(f"{wanted!r:.500} was expected, {last[0]!r:.500} is there") from None

    def stat(self, name, path):
        value = {**self.senders, **self.receivers}[name].stats()
        for part in path.split(".") if path else []:
            try:
                value = value[int(part)] if isinstance(value, list) else value[part]
            except (IndexError, KeyError):
                return None
        return value

    # ---- peers ----

    def add_peer(self, name, connection):
        connection.settimeout(20)
        self.peers[name] = connection

    def peer_connect(self, name, of):
        host, port = self.addresses[of].rsplit(":", 1)
        self.add_peer(name, socket.create_connection((host, int(port)), timeout=20))

    def message(self, hex=None, type=None, json=None):
        if hex is not None:
            return bytes.fromhex(hex)
        body = bytes([type]) + json.encode()
        return struct.pack(">I", len(body)) + body

    def peer_send(self, name, **message):
        self.peers[name].sendall(self.message(**message))

    def peer_receive(self, name, **message):
        wanted = self.message(**message)
        got = b""
        while len(got) < len(wanted):
            piece = self.peers[name].recv(len(wanted) - len(got))
            assert piece, f"{wanted!r} was expected, the connection ended after {got!r}"
            got += piece
        assert got == wanted

    def peer_closed(self, name):
        try:
            while self.peers[name].recv(65536):
                pass
        except ConnectionResetError:
            pass

    def peer_close(self, name):
        self.peers.pop(name).close()

    # ---- messages ----

    def codec_read(self, hex, type=None, json=None):
        message = codec.read_message(bytes.fromhex(hex))
        assert (message.type, message.json.decode()) == (type, json)

    def codec_write(self, type, json, hex):
        assert codec.write_message(type, json.encode()).hex() == hex

    def codec_entry(self, sequence, timestamp_us, payload, hex):
        data = None if payload is None else bytes.fromhex(payload)
        self.both_ways(codec.write_entry(sequence, timestamp_us, data), hex, codec.parse_entry)
        assert codec.parse_entry(self.parsed(hex)) == (sequence, timestamp_us, data or b"")

    def codec_ack(self, last_sequence, reader_id, hex):
        self.both_ways(codec.write_ack(last_sequence, reader_id), hex, codec.parse_ack)
        assert codec.parse_ack(self.parsed(hex)) == (last_sequence, reader_id)

    def codec_sync(self, reader_id, last_known_sequence, hex):
        self.both_ways(codec.write_sync(reader_id, last_known_sequence), hex, codec.parse_sync)
        assert codec.parse_sync(self.parsed(hex)) == (reader_id, last_known_sequence)

    def codec_sync_ack(self, current_sequence, can_resume, error, hex):
        self.both_ways(codec.write_sync_ack(current_sequence, can_resume, error), hex, codec.parse_sync_ack)
        assert codec.parse_sync_ack(self.parsed(hex)) == (current_sequence, can_resume, error)

    def codec_error(self, code, text, hex):
        self.both_ways(codec.write_error(code, text), hex, codec.parse_error)
        assert codec.parse_error(self.parsed(hex)) == (code, text)

    def both_ways(self, written, hex, parse):
        assert written.hex() == hex
        assert parse(codec.read_message(written).json) == parse(self.parsed(hex))

    def parsed(self, hex):
        return codec.read_message(bytes.fromhex(hex)).json

    def codec_parse(self, kind, json):
        getattr(codec, f"parse_{kind}")(json.encode())

    # ---- records, and others ----

    def records_parse(self, hex, records=None):
        payload = bytes.fromhex(hex)
        decoded = r.decode_records(payload)
        assert as_json(decoded) == records == json.loads(r.records_json(payload))

    def records_value(self, hex, row, key, value=None, **kind):
        found = r.record_value(bytes.fromhex(hex), row, key, r.ValueType[kind.pop("as").upper()])
        assert not kind and found == value and isinstance(found, bool) == isinstance(value, bool)

    def status_names(self):
        library = r._native.library()
        for name, value in LIST["statuses"].items():
            assert r.Status[name] == value and library.replication_status_name(value).decode() == name
        assert {kind.name: kind.value for kind in constants.EventKind} == LIST["event_kinds"]
        assert {level.name: level.value for level in constants.LogLevel} == LIST["log_levels"]
        assert {status.name for status in r.Status} == set(LIST["statuses"])

    def file_damage(self, path, at):
        with open(self.directory / path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 0x40]))

    def file_append(self, path, hex):
        with open(self.directory / path, "r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(bytes.fromhex(hex))

    def disk_set(self, state):
        """The files that tests/scenarios/trouble.c looks for."""
        assert state in ("well", "full", "broken")
        for each in ("full", "broken"):
            mark = self.directory / f"disk-is-{each}"
            mark.unlink(missing_ok=True)
            if state == each:
                mark.touch()


def number(names, value):
    """A constant by its name; a number stays one."""
    return names[value] if isinstance(value, str) else value


class Reached:
    """What the scenarios have reached, by name."""

    statuses, event_kinds = set(), set()
    scenarios = 0  # that ran to their end, or need what Python does not have

    @classmethod
    def add(cls, step):
        cls.statuses.update(step[key] for key in ("expect", "status") if key in step)
        if step["do"] == "expect.event":
            cls.event_kinds.add(step["kind"])


@pytest.mark.parametrize("scenario", LIST["scenarios"], ids=lambda scenario: scenario["name"])
def test_scenario(scenario, tmp_path_factory):
    assert set(scenario) <= {"name", "what", "needs", "steps"}
    needs = set(scenario.get("needs", ()))
    assert needs <= KNOWN_NEEDS, f"unknown needs: {needs - KNOWN_NEEDS}"
    if needs & LACKS:
        Reached.scenarios += 1
        pytest.skip(f"Python lacks {', '.join(needs & LACKS)}")
    if needs & WITH_TROUBLE and not HAS_TROUBLE:
        pytest.skip(f"{', '.join(needs)}: make test-python loads what makes it")
    run = Scenario(tmp_path_factory.mktemp("s"))
    try:
        for step in scenario["steps"]:
            if step["do"] == "join":
                run.join(step)
            else:
                run.run(step)
            Reached.add(step)
    finally:
        run.close()
    Reached.scenarios += 1


def test_whatever_is_not_declared_unreachable_was_reached():
    if Reached.scenarios < len(LIST["scenarios"]):
        pytest.skip("not every scenario ran")
    declared = [one for one in LIST["unreachable"] if "python" in one["in"]]
    assert Reached.statuses == set(LIST["statuses"]) - {one.get("status") for one in declared}
    assert Reached.event_kinds == set(LIST["event_kinds"]) - {one.get("event_kind") for one in declared}
