//! The seeds in the tree, as the library's own encoders make them. `good…` is accepted as a whole, `bad…` is not.
//! Checksums that a target makes right are left out, or zero.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams,
};
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::receiver::HAS;
use super::segment::compact;
use super::sender::LINEAGE;
use crate::log::disk::position::PositionFile;
use crate::log::disk::slots::{SlotFile, SlotRecord, SlotRecords, SlotState};
use crate::log::disk::{DiskConfig, DiskLog, LogStart, Mark};
use crate::protocol::HEADER_SIZE;
use crate::protocol::control::{AckLevel, AckRequest, Heartbeat, Positions, StreamAck, TYPE_BATCH};
use crate::protocol::entry::{Entry, chain_start};
use crate::protocol::frame::{self, TYPE_ENTRY, TYPE_ERROR};
use crate::protocol::handshake::{Answer, Offer, Point, Sync, SyncAck};
use crate::protocol::lineage::Lineage;
use crate::protocol::message;
use crate::protocol::token::Token;
use crate::records::Value;
use crate::records::encode::encode;

/// Seeds by target and name.
pub(super) type Seeds = BTreeMap<(&'static str, &'static str), Vec<u8>>;

const STREAM: [u8; 16] = *b"a stream of test";

/// All of them.
pub(super) fn all() -> Seeds {
    let mut seeds = Seeds::new();
    let mut put =
        |target, name, bytes: Vec<u8>| assert!(seeds.insert((target, name), bytes).is_none(), "{target}/{name}");
    texts(&mut put);
    handshakes(&mut put);
    frames(&mut put);
    writers(&mut put);
    records(&mut put);
    rules(&mut put);
    secrets(&mut put);
    small_files(&mut put);
    segments(&mut put);
    pems(&mut put);
    seeds
}

fn with(flags: &[u8], bytes: impl AsRef<[u8]>) -> Vec<u8> {
    [flags, bytes.as_ref()].concat()
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    with(&frame::encode_header(kind, payload.len()).unwrap(), payload)
}

fn made(encode: impl Fn(&mut Vec<u8>) -> Result<(), frame::FrameError>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out).unwrap();
    out
}

/// The payload of a frame.
fn json(encode: impl Fn(&mut Vec<u8>) -> Result<(), frame::FrameError>) -> Vec<u8> {
    made(encode).split_off(HEADER_SIZE)
}

fn texts(put: &mut impl FnMut(&'static str, &'static str, Vec<u8>)) {
    put("base64", "good-empty", Vec::new());
    put("base64", "good-one-byte", b"QQ==".to_vec());
    put("base64", "good-two-bytes", b"QUI=".to_vec());
    put(
        "base64",
        "good-all-bytes",
        base64_simd::STANDARD.encode_to_string((0..=255).collect::<Vec<u8>>()).into_bytes(),
    );
    put("base64", "good-lines", b"QU\r\nJD\nRA=\r=\n".to_vec());
    put("base64", "good-trailing-bits", b"QR==".to_vec());
    put("base64", "bad-url-alphabet", b"-_8=".to_vec());
    put("base64", "bad-no-padding", b"QUI".to_vec());

    put("message", "good-entry", with(&[0], json(|out| message::encode_entry(out, 7, 9, Some(b"payload")))));
    put("message", "good-entry-null", with(&[0], json(|out| message::encode_entry(out, u64::MAX, u64::MAX, None))));
    put(
        "message",
        "good-entry-escapes",
        with(&[0], br#" { "ts":0, "\u0073eq" : 1 ,"x":[{},"\ud800"], "payload":"Q\u0051==" } "#),
    );
    put("message", "good-ack", with(&[1], json(|out| message::encode_ack(out, 12, "reader <1> & \u{2028}é"))));
    put("message", "good-ack-replaced", with(&[1], b"{\"LAST_SEQ\":1,\"reader_id\":\"\xff\"}"));
    put(
        "message",
        "good-error",
        with(&[2], json(|out| message::encode_error(out, "SEQUENCE_GAP", "a \"text\"\n\u{1}"))),
    );
    put("message", "bad-entry-base64", with(&[0], br#"{"seq":1,"ts":2,"payload":"Q"}"#));
    put("message", "bad-entry-negative", with(&[0], br#"{"seq":-1}"#));
    put("message", "bad-ack-float", with(&[1], br#"{"last_seq":1.5}"#));
    put("message", "bad-error-half", with(&[2], br#"{"code":"#));
}

fn offer() -> Offer {
    let history = (1..4).map(|n| Point { sequence: n * 3, hash: n << 40 }).collect();
    Offer {
        version: 1,
        stream_id: Some(LINEAGE.stream_id),
        epoch: LINEAGE.epoch,
        heartbeat_ms: 1000,
        hash: 77,
        history,
    }
}

fn sync(last_known_sequence: u64, offer: Option<Offer>) -> Sync {
    Sync { reader_id: "reader-1".into(), last_known_sequence, offer }
}

fn handshakes(put: &mut impl FnMut(&'static str, &'static str, Vec<u8>)) {
    let plain = sync(3, None);
    let full = sync(12, Some(offer()));
    let new = sync(0, Some(Offer { version: 1, heartbeat_ms: 100, ..Offer::default() }));
    put("handshake", "good-sync-v1", with(&[0], json(|out| message::encode_sync(out, &plain, false))));
    put("handshake", "good-sync-v1-coordinator", with(&[2], json(|out| message::encode_sync(out, &plain, true))));
    put("handshake", "good-sync-v2", with(&[0], json(|out| message::encode_sync(out, &full, false))));
    put("handshake", "good-sync-v2-new", with(&[0], json(|out| message::encode_sync(out, &new, false))));
    let descending = Offer { history: offer().history.into_iter().rev().collect(), ..offer() };
    let bad = sync(12, Some(descending));
    put("handshake", "bad-sync-v2-history", with(&[0], json(|out| message::encode_sync(out, &bad, false))));

    let answer =
        Answer { version: 1, stream_id: STREAM, epoch: 3, first_sequence: 17, heartbeat_ms: 250, ..Answer::default() };
    let plain = SyncAck { current_sequence: 9, can_resume: true, ..SyncAck::default() };
    let full = SyncAck { answer: Some(Answer { hash: 99, ..answer.clone() }), ..plain.clone() };
    let refusal = Answer { code: "DIVERGED".into(), common_sequence: Some(4), differing_sequence: Some(5), ..answer };
    let refused = SyncAck {
        current_sequence: 9,
        can_resume: false,
        error: "DIVERGED: another <history>".into(),
        answer: Some(refusal),
    };
    put("handshake", "good-answer-v1", with(&[1], json(|out| message::encode_sync_ack(out, &plain, false))));
    put("handshake", "good-answer-v1-coordinator", with(&[3], json(|out| message::encode_sync_ack(out, &plain, true))));
    put("handshake", "good-answer-v2", with(&[1], json(|out| message::encode_sync_ack(out, &full, false))));
    put("handshake", "good-answer-v2-refused", with(&[1], json(|out| message::encode_sync_ack(out, &refused, false))));
    put("handshake", "bad-answer-v2-list", with(&[1], br#"{"current_seq":1,"can_resume":true,"v2":[1]}"#));
}

/// A batch of entries with such payloads after entry `last`. Their checksums are zero.
fn batch(last: &mut u64, step: u64, sizes: &[usize]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for size in sizes {
        let (start, sequence) = (bytes.len(), *last + step);
        let payload = vec![sequence as u8; *size];
        Entry { sequence, previous: *last, timestamp_us: sequence, payload: &payload }.encode_into(&mut bytes);
        bytes[start..start + 4].fill(0);
        *last = sequence;
    }
    frame(TYPE_BATCH, &bytes)
}

fn frames(put: &mut impl FnMut(&'static str, &'static str, Vec<u8>)) {
    let heartbeat = Heartbeat { last_sequence: 7, time_us: 1 << 50 };
    let ack = StreamAck { positions: Positions { received: 5, durable: 4, applied: 3 }, reply: true };
    let request = AckRequest { level: AckLevel::Durable, sequence: 6 };
    let controls = [heartbeat.encode(), ack.encode(), request.encode()];
    let [heartbeat, ack, request] = controls.clone().map(|frame| frame[HEADER_SIZE..].to_vec());
    put("control", "good-heartbeat", with(&[0], &heartbeat));
    put("control", "good-ack", with(&[1], &ack));
    put("control", "good-ack-longer", with(&[1], with(&ack, "later")));
    put("control", "good-ack-request", with(&[2], &request));
    put("control", "bad-heartbeat", with(&[0], &heartbeat[..15]));
    put("control", "bad-ack-request-level", with(&[2], [4; 9]));

    put("frames", "good-controls", with(&[5], controls.concat()));
    put("frames", "good-largest", with(&[3], frame(0x40, &[1; 600])));
    put("frames", "bad-cut", with(&[0], &controls.concat()[..40]));
    put("frames", "bad-length-0", with(&[0], [0, 0, 0, 0, 1]));
    put("frames", "bad-length-over", with(&[0], u32::MAX.to_be_bytes()));

    let mut last = 0;
    let first = batch(&mut last, 1, &[0, 5, 40]);
    let second = batch(&mut last, 3, &[700]);
    let stream = [&first[..], &controls[0], &second, &controls[2], &frame(0x41, b"skipped")].concat();
    put("inbound", "good-v2", with(&[0, 3, 9], &stream));
    put("inbound", "good-v2-linked", with(&[16 | 32, 6, 255], &stream));
    let gaps = [&first[..], &batch(&mut 9, 1, &[1]), &batch(&mut 30, 1, &[1])].concat();
    put("inbound", "good-v2-gaps", with(&[4, 3, 0], &gaps));
    put("inbound", "bad-v2-gap", with(&[0, 3, 0], &gaps));
    let mut last = u64::MAX - 3;
    put("inbound", "good-v2-last", with(&[64 | 128, 3, 0], batch(&mut last, 1, &[1, 2, 3])));
    put("inbound", "bad-v2-checksum", with(&[8, 3, 0], &stream));
    put(
        "inbound",
        "bad-v2-error",
        with(&[0, 3, 0], [&stream[..], &frame(TYPE_ERROR, br#"{"code":"NOT_WRITER"}"#)].concat()),
    );
    let v1 = |from| {
        made(|out| {
            (from..from + 5)
                .try_for_each(|n: u64| message::encode_entry(out, n, n, Some(&[n as u8; 9][..n as usize % 9])))
        })
    };
    put("inbound", "good-v1", with(&[1, 2, 30], v1(1)));
    let ack = made(|out| message::encode_sync_ack(out, &SyncAck::default(), false));
    put("inbound", "good-v1-coordinator", with(&[3, 4, 0], with(&ack, v1(1))));
    put("inbound", "good-v1-gap", with(&[1 | 4, 4, 0], with(&v1(1), v1(9))));
    put("inbound", "bad-v1-twice", with(&[1, 4, 0], with(&v1(1), v1(5))));

    let hello = |sync: &Sync, coordinator| made(|out| message::encode_sync(out, sync, coordinator));
    let ack = |sequence| made(|out| message::encode_ack(out, sequence, "reader-1"));
    let stream_ack = |received, durable| {
        StreamAck { positions: Positions { received, durable, applied: durable }, reply: true }.encode()
    };
    let new = sync(0, Some(Offer { version: 1, heartbeat_ms: 100, ..Offer::default() }));
    put("sender", "good-v1", with(&[0, 0], hello(&sync(0, None), false)));
    put("sender", "good-v1-coordinator", with(&[1, 2], with(&hello(&sync(5, None), true), ack(5))));
    put("sender", "good-v2", with(&[0, 0], with(&hello(&new, false), stream_ack(0, 0))));
    put("sender", "bad-v1-acks-ahead", with(&[0, 0], with(&hello(&sync(0, None), false), ack(u64::MAX))));
    put("sender", "bad-v2-acks-ahead", with(&[0, 0], with(&hello(&new, false), stream_ack(u64::MAX, 5))));
    put("sender", "bad-v2-acks-too-much", with(&[0, 0], with(&hello(&new, false), stream_ack(3, 5))));
    put("sender", "bad-v2-diverged", with(&[1, 4], hello(&sync(12, Some(offer())), false)));
    put("sender", "bad-v2-abandoned", with(&[2, 0], hello(&sync(0, Some(offer())), false)));
    put("sender", "bad-ahead", with(&[0, 0], hello(&sync(u64::MAX, None), false)));
    put("sender", "bad-entry-first", with(&[0, 0], frame(TYPE_ENTRY, br#"{"seq":1,"ts":1,"payload":""}"#)));
    put("sender", "bad-nothing", vec![0, 0]);
}

/// What a writer says, greeting and all.
fn writers(put: &mut impl FnMut(&'static str, &'static str, Vec<u8>)) {
    let plain = SyncAck { current_sequence: 9, can_resume: true, ..SyncAck::default() };
    let answer =
        Answer { version: 1, stream_id: STREAM, epoch: 3, first_sequence: 1, heartbeat_ms: 250, ..Answer::default() };
    let full = SyncAck { answer: Some(answer.clone()), ..plain.clone() };
    let greeting = |ack: &SyncAck, coordinator| made(|out| message::encode_sync_ack(out, ack, coordinator));
    let v1 =
        |from| made(|out| (from..from + 4).try_for_each(|n: u64| message::encode_entry(out, n, n, Some(b"payload"))));
    let entries = |mut last: u64, step: u64| {
        let mut bytes = Vec::new();
        for _ in 0..4 {
            let entry = Entry { sequence: last + step, previous: last, timestamp_us: 1, payload: b"payload" };
            entry.encode_into(&mut bytes);
            last += step;
        }
        frame(TYPE_BATCH, &bytes)
    };
    let heartbeat = Heartbeat { last_sequence: 9, time_us: 1 << 50 }.encode();
    let request = AckRequest { level: AckLevel::Applied, sequence: 2 }.encode();
    let v2 = [greeting(&full, false), heartbeat, entries(0, 1), request, entries(4, 2)].concat();
    put("receiver", "good-v2", with(&[0, 0], &v2));
    put("receiver", "good-v2-only-in-pieces", with(&[1 | 4, 3], &v2));
    put("receiver", "good-v2-position", with(&[32, 0], [greeting(&full, false), entries(HAS, 1)].concat()));
    put("receiver", "good-v2-gap", with(&[16, 0], [greeting(&full, false), entries(3, 1)].concat()));
    put("receiver", "good-v1", with(&[2, 0], [greeting(&plain, false), v1(1)].concat()));
    put("receiver", "good-v1-offered-v2", with(&[0, 0], [greeting(&plain, false), v1(1)].concat()));
    let coordinator = [greeting(&plain, true), greeting(&plain, false), v1(1)].concat();
    put("receiver", "good-v1-coordinator", with(&[2 | 8 | 1, 6], coordinator));
    put("receiver", "bad-gap", with(&[0, 0], [greeting(&full, false), entries(3, 1)].concat()));
    put("receiver", "bad-regressed", with(&[32, 0], greeting(&SyncAck { current_sequence: 1, ..full.clone() }, false)));
    let refusal = Answer { code: "WAL_ROTATED".into(), first_sequence: 8, ..answer };
    let refused = SyncAck { can_resume: false, error: "WAL_ROTATED: gone".into(), answer: Some(refusal), ..plain };
    put("receiver", "bad-refused", with(&[0, 0], greeting(&refused, false)));
    put("receiver", "bad-refused-goes-on", with(&[16, 0], greeting(&refused, false)));
    put("receiver", "bad-error", with(&[0, 0], frame(TYPE_ERROR, br#"{"code":"NOT_WRITER","message":"elsewhere"}"#)));
    put("receiver", "bad-nothing", vec![0, 0]);
}

fn records(put: &mut impl FnMut(&'static str, &'static str, Vec<u8>)) {
    fn text(text: &str) -> Value<'_> {
        Value::String(Cow::Borrowed(text))
    }
    let row = Value::Map(vec![
        (text("nil"), Value::Nil),
        (text("yes"), Value::Bool(true)),
        (text("min"), Value::I64(i64::MIN)),
        (text("max"), Value::U64(u64::MAX)),
        (text("half"), Value::F64(0.5)),
        (text("nan"), Value::F64(f64::NAN)),
        (text("text"), text("é\"\n\u{1}\\")),
        (text("bytes"), Value::Bytes(Cow::Borrowed(b"\x00\xff"))),
        (text("list"), Value::Array(vec![Value::I64(1), Value::Map(vec![]), Value::Array(vec![])])),
        (text("map"), Value::Map(vec![(text("inner"), Value::I64(300))])),
        (Value::I64(7), text("numbered")),
        (Value::Ext(5, Cow::Borrowed(b"k")), text("extended")),
        (text("twice"), Value::I64(1)),
        (text("twice"), Value::I64(2)),
    ]);
    let rows = Value::Array(vec![row, Value::Map(vec![])]);
    let packed = |value: &Value<'_>, long| {
        let mut out = Vec::new();
        encode(&mut out, value, long);
        out
    };
    put("records", "good-short", packed(&rows, false));
    put("records", "good-long", packed(&rows, true));
    put("records", "good-none", packed(&Value::Array(vec![]), false));
    put("records", "good-time", vec![0x91, 0x81, 0xa1, b't', 0xd6, 0xff, 1, 2, 3, 4]);
    put("records", "good-string-of-bytes", vec![0x91, 0x81, 0xa1, 0xff, 0xa2, 0xc3, 0x28]);
    let deep = |levels: usize| [&[0x91, 0x81, 0xa1, b'x'][..], &vec![0x91; levels], &[0x90]].concat();
    put("records", "good-deep", deep(100));
    put("records", "bad-deep", deep(200));
    put("records", "bad-nil", vec![0xc0]);
    put("records", "bad-huge-array", vec![0xdd, 0xff, 0xff, 0xff, 0xff, 0x80]);
    put("records", "bad-key-is-a-map", vec![0x91, 0x81, 0x80, 1]);
}

fn rules(put: &mut impl FnMut(&'static str, &'static str, Vec<u8>)) {
    put("rules", "good-default", crate::engine::access::policy::DEFAULT_RULES.into());
    let table = "# all of it\ntls 10.0.0.0/8 dns:{id}.db * read,ack,slot,hold max_connections=3 max_rate=20\n\
                 plain 2001:db8::/32 none \"a b\" read\nunix * uid:1000 \\* monitor,promote\n\
                 handed * ip:10.0.0.3 r* deny\n* * gid:100 * read\ntcp * cn:r {id} read\n";
    put("rules", "good-table", table.into());
    let fingerprint = format!("* * sha256:{} * read\n* * name:* * read\n* * uri:x * read\n", "ab".repeat(32));
    put("rules", "good-identities", fingerprint.into());
    put("rules", "bad-right", b"* * * * read,write".to_vec());
    put("rules", "bad-quote", b"* * * \"r read".to_vec());
    put("rules", "bad-network", b"* 10.0.0.0/33 * * read".to_vec());
}

fn secrets(put: &mut impl FnMut(&'static str, &'static str, Vec<u8>)) {
    put("secret", "good", vec![0]);
    put("secret", "good-nothing-changed", vec![0; 300]);
    put("secret", "bad-other-secret", vec![super::secret::OTHER]);
    // The hello has 46 bytes, the proof and the authenticator 37 each.
    for (name, at) in
        [("bad-name", 7), ("bad-nonce", 45), ("bad-proof", 80), ("bad-authenticator", 100), ("bad-sync", 150)]
    {
        put("secret", name, with(&vec![0; at + 1], [1]));
    }
}

fn small_files(put: &mut impl FnMut(&'static str, &'static str, Vec<u8>)) {
    let token = Token { stream_id: STREAM, epoch: 2, sequence: 3, hash: u64::MAX };
    let encoded = token.encode();
    put("token", "good", with(&[0], &encoded[..44]));
    put("token", "good-as-it-is", with(&[1], encoded));
    put("token", "bad-checksum", with(&[1], [&encoded[..44], &[0; 4]].concat()));
    put("token", "bad-version", with(&[0], [b"RPT\x02", &encoded[4..44]].concat()));
    put("token", "bad-length", with(&[1], [&encoded[..], &[0]].concat()));

    let dir = super::scratch();
    let slots = |slots: SlotRecords| {
        SlotFile::load(dir.path()).unwrap().0.store(&slots).unwrap();
        let mut bytes = std::fs::read(dir.path().join("slots")).unwrap();
        bytes.truncate(bytes.len() - 4);
        bytes
    };
    let record = |n: u64, state| SlotRecord { position: n << 30, sequence: n, hash: !n, updated_us: n << 50, state };
    let some = slots(SlotRecords::from([
        ("a".into(), record(1, SlotState::Held)),
        ("lösung".into(), record(2, SlotState::Invalidated)),
        ("x".repeat(255), record(3, SlotState::Held)),
    ]));
    put("slots", "good-three", with(&[0], &some));
    put("slots", "good-three-counted", with(&[2], &some));
    put("slots", "good-none", with(&[0], slots(SlotRecords::new())));
    put("slots", "bad-checksum", with(&[1], with(&some, [0; 4])));
    put("slots", "bad-count", with(&[0], [&some[..12], &[0, 1, 0, 1], &some[16..]].concat()));
    let (head, first, others) = (&some[..16], &some[16..16 + 35], &some[16 + 35..]);
    put("slots", "bad-order", with(&[2], [head, others, first].concat()));
    put("slots", "bad-twice", with(&[2], [head, first, first].concat()));
    let id_of_no_text = [head, &[1, 0xff], &first[2..]].concat();
    put("slots", "bad-id", with(&[2], id_of_no_text));
    put("slots", "bad-empty-id", with(&[2], [head, &[0], &first[2..]].concat()));
    put("slots", "bad-state", with(&[2], [head, &first[..34], &[2]].concat()));
    put("slots", "bad-half", with(&[2], &some[..some.len() - 1]));

    let (mut file, _) = PositionFile::open(dir.path(), "position").unwrap();
    let compact = || {
        let file = std::fs::read(dir.path().join("position")).unwrap();
        // Its header and both slots, without their checksums.
        let slots = [4096, 8192].map(|at| [&file[at..at + 52], &[0; 8]].concat());
        [&file[..12], &[0; 4], &slots[0], &slots[1]].concat()
    };
    put("position", "bad-new", with(&[0], compact()));
    file.store(&token, true).unwrap();
    put("position", "good-one", with(&[0], compact()));
    file.store(&Token { sequence: 4, ..token }, true).unwrap();
    let two = compact();
    put("position", "good-two", with(&[0], &two));
    put("position", "bad-checksums", with(&[1], &two));
    let mut last = two.clone();
    last[16..24].fill(0xff);
    put("position", "good-last-generation", with(&[0], last));
    let mut exchanged = two;
    (exchanged[23], exchanged[83]) = (2, 1);
    put("position", "good-exchanged", with(&[0], exchanged));
    put("position", "bad-short-file", with(&[2], [7; 100]));
}

/// A segment as its target takes it, without checksums.
fn without_checksums(file: &[u8]) -> Vec<u8> {
    let mut bytes = compact(file);
    for at in [88, 92 + 48, 92 + 52, 148 + 48, 148 + 52] {
        bytes[at..at + 4].fill(0);
    }
    bytes
}

fn segments(put: &mut impl FnMut(&'static str, &'static str, Vec<u8>)) {
    let dir = super::scratch();
    let files = || {
        let mut paths: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|item| item.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
        paths.sort();
        paths.into_iter().map(|path| with_fixed_time(std::fs::read(path).unwrap())).collect::<Vec<_>>()
    };
    let start = || {
        let mark = Mark { hash: chain_start(&STREAM), ..Mark::default() };
        Ok(LogStart { lineage: Lineage { stream_id: STREAM, epoch: 1 }, mark })
    };
    let (log, _) = DiskLog::open(DiskConfig::new(dir.path()), start).unwrap();
    let entry = |sequence: u64, size: usize| {
        let (mut bytes, payload) = (Vec::new(), vec![sequence as u8; size]);
        Entry { sequence, previous: sequence - 1, timestamp_us: sequence * 10, payload: &payload }
            .encode_into(&mut bytes);
        bytes
    };
    put("segment", "bad-without-entries", with(&[0], without_checksums(&files()[0])));
    log.write(&entry(1, 0)).unwrap();
    log.write(&entry(2, 1)).unwrap();
    log.sync().unwrap();
    log.write(&entry(3, 100)).unwrap();
    let file = &files()[0];
    put("segment", "good-one-not-synced", with(&[0], without_checksums(file)));
    put("segment", "good-linked", with(&[2 | 4 | 8], without_checksums(file)));
    put("segment", "good-torn", with(&[0], without_checksums(&file[..file.len() - 50])));
    put("segment", "good-zeroes-after", with(&[0], without_checksums(&with(file, [0; 64]))));
    put("segment", "bad-checksums", with(&[1], without_checksums(file)));
    put("segment", "bad-short-file", with(&[16], &file[..80]));
    log.begin_epoch(2).unwrap();
    log.write(&entry(4, 7)).unwrap();
    log.sync().unwrap();
    let both: Vec<u8> = files().iter().flat_map(|file| without_checksums(file)).collect();
    put("segment", "good-two-epochs", with(&[0], &both));
    put("segment", "good-two-joined", with(&[2 | 4 | 8], &both));
    let twice: Vec<u8> = [0, 0].iter().flat_map(|n| without_checksums(&files()[*n])).collect();
    put("segment", "bad-same-stream-again", with(&[8 | 32], with(&twice, &twice)));
}

/// The file as if it had been made at a certain time. Its checksum is not right then.
fn with_fixed_time(mut file: Vec<u8>) -> Vec<u8> {
    file[80..88].copy_from_slice(&(1_u64 << 50).to_be_bytes());
    file
}

/// An Ed25519 key, whose signatures have nothing random.
fn key(seed: u8) -> KeyPair {
    let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let der = with(&prefix, [seed; 32]);
    KeyPair::try_from(&PrivatePkcs8KeyDer::from(der)).unwrap()
}

fn pems(put: &mut impl FnMut(&'static str, &'static str, Vec<u8>)) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = key(1);
    let authority = params.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(params, authority_key);
    let chain = CertificateParams::new(vec!["writer.example".to_owned()]).unwrap();
    let chain = chain.signed_by(&key(2), &issuer).unwrap().pem();
    let key_of = |seed| key(seed).serialize_pem();
    let files = |flags: u8, files: &[&str]| with(&[flags], files.join("\0"));
    put("pem", "good", files(0, &[&chain, &key_of(2), &authority]));
    put("pem", "good-chain", files(0, &[&(chain.clone() + &authority), &key_of(2), &authority]));
    put("pem", "good-authorities-only", files(1, &["", "", &(authority.clone() + "text between\n" + &authority)]));
    let at = rcgen::date_time_ymd(2020, 1, 1);
    let revoked =
        RevokedCertParams { serial_number: 7.into(), revocation_time: at, reason_code: None, invalidity_date: None };
    let list = CertificateRevocationListParams {
        this_update: at,
        next_update: rcgen::date_time_ymd(4000, 1, 1),
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&issuer).unwrap().pem().unwrap();
    put("pem", "good-revocation-list", files(0, &[&chain, &key_of(2), &authority, &list]));
    put("pem", "bad-revocation-list", files(0, &[&chain, &key_of(2), &authority, &chain]));
    put("pem", "bad-foreign-key", files(0, &[&chain, &key_of(3), &authority]));
    put("pem", "bad-no-pem", files(0, &["no PEM\n", "-----BEGIN PRIVATE KEY-----\n", &authority]));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    put("pem", "bad-broken", files(0, &[broken, &key_of(2), broken]));
    let one_line = key_of(2).replace(['\r', '\n'], "");
    put("pem", "bad-key-on-one-line", files(0, &[&chain, &one_line, &authority]));
    put("pem", "bad-key-as-certificate", files(0, &[&key_of(2), &one_line.replace("BEGIN ", "BEGIN\n"), &one_line]));
    let encrypted = key_of(2).replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    put("pem", "bad-encrypted-key", files(0, &[&chain, &encrypted, &authority]));
}
