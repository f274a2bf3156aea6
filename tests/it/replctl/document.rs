//! docs/replctl.md: each command that stands there is run, and prints what stands below it.

use std::io::Write;
use std::os::unix::fs::FileExt;

use replication::protocol::control::AckLevel;
use replication::receiver::config::ReceiverConfig;
use replication::sender::Sender;
use replication::sender::config::{SenderConfig, StorageConfig};

use super::*;

const STREAM_ID: [u8; 16] = 0x5c1f_0a9e_7742_4d10_8e23_9011_ab6d_34f0_u128.to_be_bytes();

/// The time of the first entry, 2026-01-31T12:00:00Z, and the time between two.
const FIRST_US: u64 = 1_769_860_800_000_000;
const INTERVAL_US: u64 = 250_000;

const ENTRIES: u64 = 3_000;

/// The row of an order, as msgpack: `[{"id": 1, "op": "insert", "table": "orders", "total": 7}]`.
fn order(id: u64) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Order {
        id: u64,
        op: &'static str,
        table: &'static str,
        total: u64,
    }
    rmp_serde::to_vec_named(&[Order { id, op: "insert", table: "orders", total: id * 7 % 1_000 }]).unwrap()
}

/// A writer with the log of the document in `dir`, which one reader has applied.
fn writer(dir: &Path) -> (Sender, String) {
    let storage = StorageConfig { segment_bytes: 64 << 10, ..StorageConfig::new(dir) };
    let lineage = Some(Lineage { stream_id: STREAM_ID, epoch: 1 });
    let (sender, address, _) = sender(SenderConfig { lineage, storage: Some(storage), ..SenderConfig::default() });
    for n in 0..ENTRIES {
        sender.replicate(FIRST_US + n * INTERVAL_US, &order(n + 1)).unwrap();
    }
    let reader = ReceiverConfig { handler_durable: true, ..receiver_config("analytics", &address) };
    let (receiver, ..) = receiver(reader);
    assert_eq!(sender.wait_acked(ENTRIES, AckLevel::Durable, 1, PATIENCE).unwrap(), 1);
    receiver.stop().unwrap();
    until("the slot to be stored", || {
        let slots: Value = serde_json::from_str(&sender.slots_json().unwrap()).unwrap();
        let stored = run(&["slots", "--json", text(dir)]).out;
        slots[0]["connected"] == false && stored.contains(&format!("\"sequence\":{ENTRIES}"))
    });
    (sender, address)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Changes a bit of the last byte of an entry, found by its payload.
fn damage(file: &Path, payload: &[u8]) {
    let bytes = fs::read(file).unwrap();
    let at = bytes.windows(payload.len()).position(|window| window == payload).unwrap();
    let last = at + payload.len() - 1;
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(&[bytes[last] ^ 1], last as u64).unwrap();
}

/// Leaves the beginning of a header after the last entry, found by its payload.
fn tear(file: &Path, payload: &[u8]) {
    let bytes = fs::read(file).unwrap();
    let end = bytes.windows(payload.len()).rposition(|window| window == payload).unwrap() + payload.len();
    let mut torn = fs::File::create(file).unwrap();
    torn.write_all(&bytes[..end]).unwrap();
    torn.write_all(&[0xAB; 30]).unwrap();
}

/// The commands of the document, each with what stands below it.
fn examples(document: &str) -> Vec<(&str, &str)> {
    let blocks = document.split("```text\n$ ").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().split_once('\n').unwrap()).collect()
}

/// The text without what differs from run to run: a process and its machine, and how long ago something was.
fn settled(text: &str) -> String {
    let lines = text.lines().map(|line| {
        if let Some((before, _)) = line.split_once(" held by process ") {
            return before;
        }
        // A number, its unit and "ago".
        if line.ends_with(" ago") { line.rsplitn(4, ' ').last().map_or("", str::trim_end) } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_document_shows_what_its_commands_print() {
    let document = include_str!("../../../docs/replctl.md");
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let (sender, address) = writer(&at("log"));
    for damaged in ["bad", "torn"] {
        copy(&at("log"), &at(damaged));
    }
    let second = "00000000000000000921.seg";
    damage(&at("bad").join(second), &order(971));
    let mut segments: Vec<_> = fs::read_dir(at("torn")).unwrap().map(|file| file.unwrap().path()).collect();
    segments.retain(|file| file.extension().is_some_and(|extension| extension == "seg"));
    tear(segments.iter().max().unwrap(), &order(ENTRIES));

    let programs = Path::new(env!("CARGO_BIN_EXE_replctl")).parent().unwrap();
    let path = format!("{}:{}", text(programs), std::env::var("PATH").unwrap());
    let mut commands = examples(document);
    // To tail a live writer leaves a slot.
    commands.sort_by_key(|(command, _)| command.contains("tail"));
    assert!(commands.len() >= 7, "{commands:?}");
    for (command, shown) in commands {
        let here = command.replace("db1:7400", &address);
        let mut shell = Command::new("sh");
        shell.args(["-c", &here]).current_dir(place.path()).env("PATH", &path).stdin(Stdio::null());
        // The document's logs lie in /var/lib/db.
        let printed = ended(shell.output().unwrap()).out.replace(text(place.path()), "/var/lib/db");
        assert_eq!(settled(&printed), settled(shown), "$ {command}\n{printed}");
    }
    sender.stop().unwrap();
}
