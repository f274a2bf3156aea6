//! `inspect`, `verify`, `dump` and `slots` of a directory.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use replication::log::disk::HEAD_BYTES;
use replication::log::disk::position::PositionFile;
use replication::log::disk::slots::{SlotFile, SlotRecord, SlotState};
use replication::protocol::entry::ENTRY_HEADER_SIZE;
use replication::protocol::token::Token;

use super::*;

/// Everything that may be seen of a directory.
fn state(dir: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut all: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|item| {
            let path = item.unwrap().path();
            let modified = fs::metadata(&path).unwrap().modified().unwrap();
            (path.clone(), fs::read(path).unwrap(), modified)
        })
        .collect();
    all.sort();
    all
}

#[test]
fn a_path_without_a_log_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let empty = text(directory.path());
    let file = directory.path().join("file");
    fs::write(&file, "text").unwrap();
    for command in ["inspect", "verify", "dump", "tail", "slots"] {
        for (dir, said) in [
            ("/nowhere/at/all", "No such file or directory"),
            (text(&file), "Not a directory"),
            (empty, "holds no segment of a log"),
        ] {
            let run = run(&[command, dir]).exits(1);
            run.says(said);
            run.says(dir);
            assert_eq!(run.out, "");
        }
    }
    run(&["token", "--dir", "/nowhere/at/all"]).exits(1).says("No such file or directory");
    run(&["token", "--dir", empty]).exits(1).says("has no position");

    // Foreign files in a log's directory concern nobody, unless they claim to be segments.
    let log = some_log();
    fs::write(log.path().join("README"), "hands off").unwrap();
    fs::create_dir(log.path().join("lost+found")).unwrap();
    run(&["verify", text(log.path())]).exits(0);
    let foreign = log.path().join("backup.seg");
    fs::write(&foreign, "no segment").unwrap();
    for command in ["inspect", "dump"] {
        run(&[command, text(log.path())]).exits(4).says(&format!("{}: at byte 0", foreign.display()));
    }
    fs::remove_file(foreign).unwrap();
    fs::write(log.path().join(format!("{:020}.seg", 77)), "no segment").unwrap();
    run(&["verify", text(log.path())]).exits(4).prints("DAMAGED: ");
}

#[test]
fn a_directory_without_rights_is_said_to_be_one() {
    let dir = some_log();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o000)).unwrap();
    let command = if fs::read_dir(dir.path()).is_ok() {
        // Root may read everything, so somebody else tries, with a copy of the tool where that may find it.
        let tools = tempfile::tempdir().unwrap();
        fs::set_permissions(tools.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let copy = tools.path().join("replctl");
        fs::copy(env!("CARGO_BIN_EXE_replctl"), &copy).unwrap();
        let mut command = Command::new(copy);
        command.uid(65_534).gid(65_534);
        (command, Some(tools))
    } else {
        (tool(&[]), None)
    };
    let (mut command, _tools) = command;
    let run = ended(command.args(["verify", text(dir.path())]).output().unwrap()).exits(1);
    run.says("Permission denied");
    run.says(text(dir.path()));
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn inspect_tells_what_is_there() {
    let dir = some_log();
    let log = open(dir.path(), 2000);
    write_some(&log, 1);
    let (mut position, _) = PositionFile::open(dir.path(), "applied").unwrap();
    let mark = log.locate(98).unwrap().unwrap();
    position.store(&Token { stream_id: STREAM, epoch: 3, sequence: 98, hash: mark.hash }, false).unwrap();
    let before = state(dir.path());
    let found = run(&["inspect", "--json", text(dir.path())]).exits(0).json();
    let human = run(&["inspect", text(dir.path())]).exits(0);
    assert_eq!(state(dir.path()), before, "it changed something");

    assert_eq!(found["stream_id"], STREAM_HEX);
    assert_eq!(found["epoch"], 3);
    assert_eq!(
        found["epochs"],
        serde_json::json!([
            { "epoch": 1, "after_sequence": 0 },
            { "epoch": 3, "after_sequence": 60 },
        ])
    );
    assert_eq!((&found["oldest_sequence"], &found["newest_sequence"]), (&1.into(), &101.into()));
    assert_eq!(found["oldest_timestamp_us"], BEGAN_US);
    assert_eq!(found["newest_timestamp_us"], BEGAN_US + 100_000_000);
    assert_eq!(found["durable"]["sequence"], 100);
    assert_eq!(found["durable"]["position"], log.synced().position);
    assert_eq!(found["end"]["hash"], log.written().hash);
    assert_eq!(found["bytes"], log.bytes());
    assert_eq!(found["applied"]["sequence"], 98);
    assert_eq!(found["torn"], Value::Null);
    assert_eq!(found["lock"]["pid"], std::process::id());
    assert_eq!(found["lock"]["state"], "held");
    let all = found["segments"].as_array().unwrap();
    assert_eq!(all.len(), segments(dir.path()).len());
    let mut next = 1;
    for (segment, path) in all.iter().zip(segments(dir.path())) {
        assert_eq!(segment["file"], path.file_name().unwrap().to_str().unwrap());
        assert_eq!(segment["first_sequence"], next);
        assert_eq!(segment["first_timestamp_us"], BEGAN_US + (next - 1) * 1_000_000);
        assert_eq!(segment["bytes"], fs::metadata(&path).unwrap().len());
        next = segment["last_sequence"].as_u64().unwrap() + 1;
        assert_eq!(segment["sealed"], next <= 101);
    }
    assert_eq!(next, 102);

    human.prints(&format!("stream     {STREAM_HEX}\n"));
    human.prints("epochs     1 (after 0), 3 (after 60)\n");
    human.prints("entries    1 to 101\n");
    human.prints("times      2026-01-01T00:00:00.000000Z to 2026-01-01T00:01:40.000000Z\n");
    human.prints("durable    to 100 (");
    human.prints(&format!("lock       held by process {} on ", std::process::id()));
    human.prints("applied    to 98 in epoch 3\n");
    human.prints("\n00000000000000000001.seg ");

    drop(log);
    let found = run(&["inspect", "--json", text(dir.path())]).exits(0).json();
    assert_eq!(found["lock"]["state"], "free");
    run(&["inspect", text(dir.path())]).exits(0).prints("lock       free; process ");
}

#[test]
fn an_empty_log_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let dir = text(directory.path());
    drop(open(directory.path(), 2000));
    let found = run(&["inspect", "--json", dir]).exits(0).json();
    assert_eq!((&found["oldest_sequence"], &found["newest_sequence"]), (&Value::Null, &Value::Null));
    run(&["inspect", dir]).exits(0).prints("entries    none; the next one follows entry 0\n");
    run(&["verify", dir]).exits(0).prints("OK: 0 entries");
    assert_eq!(run(&["dump", dir]).exits(0).out, "");
    assert_eq!(run(&["slots", dir]).exits(0).out, "no slots\n");
    assert_eq!(run(&["slots", "--json", dir]).exits(0).out, "");
}

#[test]
fn verify_reads_everything() {
    let dir = some_log();
    let before = state(dir.path());
    let human = run(&["verify", text(dir.path())]).exits(0);
    human.prints("OK: 100 entries, ");
    human.prints(&format!("stream {STREAM_HEX}, epoch 3, chain hash "));
    assert_eq!(human.err, "", "progress is for terminals");
    let found = run(&["verify", "--json", "--progress", text(dir.path())]).exits(0);
    found.says(" left");
    let found = found.json();
    assert_eq!((&found["result"], &found["entries"]), (&"ok".into(), &100.into()));
    assert_eq!((&found["after_sequence"], &found["last_sequence"]), (&0.into(), &100.into()));
    assert_eq!(found["segments"], segments(dir.path()).len());
    assert_eq!(state(dir.path()), before, "it changed something");

    // A reader's position of another history.
    let (mut position, _) = PositionFile::open(dir.path(), "applied").unwrap();
    position.store(&Token { stream_id: STREAM, epoch: 3, sequence: 50, hash: 7 }, false).unwrap();
    run(&["verify", text(dir.path())]).exits(4).prints("another history");
    let hash = {
        let log = open(dir.path(), 2000);
        log.locate(50).unwrap().unwrap().hash
    };
    position.store(&Token { stream_id: STREAM, epoch: 3, sequence: 50, hash }, false).unwrap();
    run(&["verify", text(dir.path())]).exits(0).prints("applied: to 50, whole");
}

#[test]
fn damage_is_told_with_its_place() {
    let dir = some_log();
    let path = &segments(dir.path())[1];
    let whole = fs::read(path).unwrap();
    // In the payload of some entry in the middle of the segment.
    let mut at = HEAD_BYTES as usize;
    for _ in 0..3 {
        at += ENTRY_HEADER_SIZE + u32::from_be_bytes(whole[at + 4..at + 8].try_into().unwrap()) as usize;
    }
    let mut bytes = whole.clone();
    bytes[at + 20] ^= 1;
    fs::write(path, &bytes).unwrap();

    let human = run(&["verify", text(dir.path())]).exits(4);
    human.prints(&format!("DAMAGED: {}: at byte {at}: entry ", path.display()));
    let sequence = u64::from_be_bytes(whole[at + 8..at + 16].try_into().unwrap());
    human.prints(&format!("; entries {sequence} to "));
    let found = run(&["verify", "--json", text(dir.path())]).exits(4).json();
    assert_eq!((&found["result"], &found["path"]), (&"damaged".into(), &text(path).into()));
    assert_eq!(found["offset"], at);
    // The entries before the damage are printed, then the damage.
    let dumped = run(&["dump", "--json", text(dir.path())]).exits(4);
    assert_eq!(entries(&dumped.lines()), expected(1, sequence - 1));
    dumped.says(&format!("{}: at byte {at}", path.display()));

    // A segment that is missing is found from the heads alone.
    fs::remove_file(path).unwrap();
    for command in ["inspect", "verify", "tail", "dump"] {
        assert_eq!(run(&[command, text(dir.path())]).status, 4, "{command}");
    }
    fs::write(path, &whole).unwrap();
    run(&["verify", text(dir.path())]).exits(0);
    fs::write(dir.path().join("slots"), b"RPLSLOT\nxxxxxxxxxxxxxxxx").unwrap();
    run(&["verify", text(dir.path())]).exits(4).prints("slot file");
}

#[test]
fn a_torn_tail_is_told_from_damage() {
    let dir = some_log();
    let path = segments(dir.path()).pop().unwrap();
    let length = fs::metadata(&path).unwrap().len();
    let mut next = Vec::new();
    Entry { sequence: 101, previous: 100, timestamp_us: 0, payload: &[7; 50] }.encode_into(&mut next);
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&next[..60]).unwrap();

    let human = run(&["verify", text(dir.path())]).exits(3);
    human.prints(&format!("TORN TAIL: {}: at byte {length}: ", path.display()));
    human.prints("60 B after entry 100 are no whole entry");
    human.prints("Before them: 100 entries");
    let found = run(&["verify", "--json", text(dir.path())]).exits(3).json();
    assert_eq!((&found["result"], &found["entries"]), (&"torn".into(), &100.into()));
    assert_eq!((&found["torn"]["offset"], &found["torn"]["bytes"]), (&length.into(), &60.into()));
    assert_eq!(found["torn"]["path"], text(&path));
    assert_eq!(run(&["inspect", "--json", text(dir.path())]).exits(0).json()["torn"]["bytes"], 60);
    let dumped = run(&["dump", "--json", text(dir.path())]).exits(0);
    assert_eq!(entries(&dumped.lines()), expected(1, 100));
    dumped.says("60 bytes after entry 100 are no whole entry");
}

#[test]
fn dump_gives_what_was_written() {
    let directory = some_log();
    let dir = text(directory.path());
    let lines = run(&["dump", "--json", dir]).exits(0).lines();
    assert_eq!(entries(&lines), expected(1, 100));
    for line in &lines {
        let sequence = line["sequence"].as_u64().unwrap();
        assert_eq!(line["timestamp_us"], BEGAN_US + (sequence - 1) * 1_000_000);
        assert_eq!(line["epoch"], if sequence <= 60 { 1 } else { 3 });
    }
    let part = |arguments: &[&str]| entries(&run(&[&["dump", "--json", dir], arguments].concat()).exits(0).lines());
    assert_eq!(part(&["--from", "58", "--to", "63"]), expected(58, 63));
    assert_eq!(part(&["--from=100"]), expected(100, 100));
    assert_eq!(part(&["--from=101"]), []);
    assert_eq!(part(&["--limit", "2"]), expected(1, 2));
    assert_eq!(part(&["--since", "2026-01-01T00:01:30Z"]), expected(91, 100));
    assert_eq!(part(&["--since", "2026-01-01T00:01:30Z", "--from=95", "--to=96"]), expected(95, 96));
    assert_eq!(part(&["--since", "@1767225600.000001", "--limit=1"]), expected(2, 2));
    assert_eq!(part(&["--since", "2026-01-02"]), []);

    let human = run(&["dump", dir, "--limit=3", "--payload=hex"]).exits(0).out;
    let lines: Vec<_> = human.lines().collect();
    assert_eq!(lines[0], "1  2026-01-01T00:00:00.000000Z  7 B  1f202122232425");
    assert_eq!(lines.len(), 3);
    assert_eq!(
        run(&["dump", dir, "--limit=1", "--payload=none"]).exits(0).out,
        "1  2026-01-01T00:00:00.000000Z  7 B\n"
    );
}

#[test]
fn numbers_of_64_bits_are_exact_and_payloads_come_in_every_form() {
    let directory = tempfile::tempdir().unwrap();
    let dir = text(directory.path());
    let before = u64::MAX - 6;
    let mark = Mark { sequence: before, hash: 9, ..Mark::default() };
    let (log, _) = DiskLog::open(DiskConfig::new(directory.path()), || Ok(start_at(mark))).unwrap();
    let records = rmp_serde::to_vec_named(&serde_json::json!([{ "id": u64::MAX, "name": "ö\u{85}\u{202e}" }])).unwrap();
    let hostile = "\u{9b}31m\u{7f}\u{202e}\u{feff}";
    let payloads: [&[u8]; 5] =
        [b"plain \x1b[31mtext\n", &[0xff, 0x00, b'a'], &records, &[b'x'; 100], hostile.as_bytes()];
    let mut bytes = Vec::new();
    for (previous, payload) in (before..).zip(payloads) {
        Entry { sequence: previous + 1, previous, timestamp_us: u64::MAX, payload }.encode_into(&mut bytes);
    }
    log.write(&bytes).unwrap();

    let lines = run(&["dump", "--json", dir]).exits(0).lines();
    assert_eq!(lines[3]["sequence"].as_u64(), Some(u64::MAX - 2));
    assert_eq!(lines[0]["timestamp_us"].as_u64(), Some(u64::MAX));
    for (line, payload) in lines.iter().zip(payloads) {
        assert_eq!(base64(line["payload_base64"].as_str().unwrap()), payload);
    }
    let form = |form: &str| run(&["dump", "--json", dir, "--payload", form]).exits(0).lines();
    assert_eq!(form("text")[0]["payload_text"], "plain \u{1b}[31mtext\n");
    assert_eq!(base64(form("text")[1]["payload_base64"].as_str().unwrap()), payloads[1]);
    assert_eq!(form("hex")[1]["payload_hex"], "ff0061");
    assert_eq!(form("records")[2]["records"][0]["id"].as_u64(), Some(u64::MAX));
    assert_eq!(base64(form("records")[1]["payload_base64"].as_str().unwrap()), payloads[1]);
    assert_eq!(form("none")[0].get("payload_base64"), None);
    assert_eq!(form("text")[4]["payload_text"], hostile);

    for arguments in [
        &["dump", "--json", "--payload=text", dir][..],
        &["dump", "--json", "--payload=records", dir],
        &["dump", "--payload=text", dir],
        &["dump", "--payload=records", dir],
    ] {
        let out = run(arguments).exits(0).out;
        assert!(!out.replace('\n', "").chars().any(is_hidden), "{arguments:?}: {out:?}");
    }

    let human = run(&["dump", dir]).exits(0).out;
    assert_eq!(human.lines().count(), 5, "{human}");
    assert!(
        human.contains("18446744073709551610  18446744073709551615 us  16 B  plain \\u{1b}[31mtext\\n\n"),
        "{human}"
    );
    assert!(human.contains(&format!("  {}…\n", "x".repeat(64))), "{human}");
    let human = run(&["dump", dir, "--payload=text"]).exits(0).out;
    assert!(human.contains("\\xff\\u{0}a\n") && human.contains(&"x".repeat(100)), "{human}");
    let human = run(&["dump", dir, "--payload=records"]).exits(0).out;
    assert!(human.contains("[{\"id\":18446744073709551615,\"name\":\"ö\\u0085\\u202e\"}]"), "{human}");
    run(&["inspect", dir]).exits(0).prints("18446744073709551615 us");
}

#[test]
fn p2_removed_entries_are_reported() {
    let directory = some_log();
    let dir = text(directory.path());
    let log = open(directory.path(), 2000);
    trim(&log);
    let oldest = log.oldest().sequence;
    assert!(oldest > 1);
    for command in ["dump", "tail"] {
        // Nobody asked for them.
        let all = run(&[command, "--json", dir]).exits(0);
        assert_eq!(entries(&all.lines()), expected(oldest + 1, 100));
        let some = run(&[command, "--json", "--from=1", dir]).exits(5);
        assert_eq!(entries(&some.lines()), expected(oldest + 1, 100));
        some.says(&format!("gap: entries 1 to {oldest} are gone"));
    }
    let none = run(&["dump", "--from=1", "--to=2", dir]).exits(5);
    none.says("gap: entries 1 to 2 are gone");
    assert_eq!(none.out, "");
    // It is a gap as well when no entry is left.
    log.begin_epoch(4).unwrap();
    trim(&log);
    for command in ["dump", "tail"] {
        let none = run(&[command, "--from=1", dir]).exits(5);
        none.says("gap: entries 1 to 100 are gone");
        assert_eq!(none.out, "");
        run(&[command, "--from=101", dir]).exits(0);
    }
}

#[test]
fn slots_are_listed() {
    let directory = some_log();
    let dir = text(directory.path());
    let log = open(directory.path(), 2000);
    let (file, mut slots) = SlotFile::load(directory.path()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as u64;
    for (id, sequence, state, age) in
        [("analytics", 40, SlotState::Held, 3), ("old\u{1b}", 10, SlotState::Invalidated, 300_000)]
    {
        let mark = log.locate(sequence).unwrap().unwrap();
        let updated_us = now - age * 1_000_000;
        let record = SlotRecord { position: mark.position, sequence, hash: mark.hash, updated_us, state };
        slots.insert(id.into(), record);
    }
    file.store(&slots).unwrap();
    let held = log.written().position - slots["analytics"].position;
    let lines = run(&["slots", "--json", dir]).exits(0).lines();
    assert_eq!((&lines[0]["reader_id"], &lines[1]["reader_id"]), (&"analytics".into(), &"old\u{1b}".into()));
    assert_eq!((&lines[0]["state"], &lines[1]["state"]), (&"held".into(), &"lost".into()));
    assert_eq!((&lines[0]["sequence"], &lines[0]["held_bytes"]), (&40.into(), &held.into()));
    let human = run(&["slots", dir]).exits(0);
    human.prints("READER     STATE  SEQUENCE");
    human.prints("analytics  held         40");
    human.prints("old\\u{1b}");
    human.prints("3 d ago");
    run(&["inspect", dir]).exits(0).prints("slots      1 held, 1 lost; the slowest holds ");
    let found = run(&["inspect", "--json", dir]).exits(0).json();
    assert_eq!(found["slots"]["most_held_bytes"], held);
    run(&["verify", dir]).exits(0).prints("slots: 2, whole");
}
