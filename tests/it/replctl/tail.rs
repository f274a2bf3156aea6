//! `tail` of a directory and of a live writer, and `verify` beside one.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use replication::error::Status;
use replication::protocol::handshake::SyncAck;
use replication::sender::Sender;
use replication::sender::config::{AccessRules, Secret, Secrets, SenderConfig, StorageConfig, SyncPolicy};

use super::*;
use crate::certificates::Authority;
use crate::common::wire::{Door, error_frame, sync_ack_frame};

#[test]
fn p2_a_directory_is_followed_while_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 3000);
    write_some(&log, 10);
    let mut tail = Running::new(&["tail", "-f", "--json", text(directory.path())]);
    let mut lines: Vec<_> = (0..10).map(|_| tail.line()).collect();
    for n in 0..300 {
        write_some(&log, 1);
        if n % 50 == 0 {
            log.sync().unwrap();
        }
        if n == 100 {
            log.begin_epoch(9).unwrap();
        }
    }
    lines.extend((0..300).map(|_| tail.line()));
    assert_eq!(entries(&lines), expected(1, 310));
    assert_eq!(lines[309]["epoch"], 9);
    // The log was not locked by any of this, and goes on.
    write_some(&log, 1);
    assert_eq!(tail.line()["sequence"], 311);
    tail.signal(Signal::SIGINT);
    let ended = tail.end().exits(0);
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", ""));
}

#[test]
fn a_directory_is_followed_from_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 3000);
    write_some(&log, 10);
    let mut tail = Running::new(&["tail", "-f", "--from=end", "--limit=20", "--json", text(directory.path())]);
    // Where the end is when it has begun, nobody knows.
    let begun = Instant::now();
    while tail.child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < PATIENCE);
        write_some(&log, 1);
        std::thread::sleep(Duration::from_millis(1));
    }
    let lines = entries(&tail.end().exits(0).lines());
    assert!(lines[0].0 > 10);
    assert_eq!(lines, expected(lines[0].0, lines[0].0 + 19));
}

#[test]
fn p2_a_directory_that_is_trimmed_faster_than_it_is_read_has_a_gap() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(directory.path(), 64 << 10);
    let big = vec![7u8; 4000];
    write(&log, [big.as_slice(); 100]);
    // Its output is not read: it stops somewhere.
    let mut tail = Running::new(&["tail", "-f", "--json", text(directory.path())]);
    assert_eq!(tail.line()["sequence"], 1);
    for _ in 0..20 {
        write(&log, [big.as_slice(); 100]);
    }
    trim(&log);
    let oldest = log.oldest().sequence;
    let mut seen = vec![1];
    while *seen.last().unwrap() < 2100 {
        seen.push(tail.line()["sequence"].as_u64().unwrap());
    }
    let gap = seen.windows(2).position(|pair| pair[1] != pair[0] + 1).unwrap();
    assert_eq!(seen[gap + 1], oldest + 1);
    assert!(seen[gap + 1..].iter().copied().eq(oldest + 1..=2100));
    tail.signal(Signal::SIGTERM);
    tail.end().exits(5).says(&format!("gap: entries {} to {oldest} of ", seen[gap] + 1));
}

fn stored(dir: &Path) -> SenderConfig {
    let storage = StorageConfig { segment_bytes: 64 << 10, sync: SyncPolicy::Os, ..StorageConfig::new(dir) };
    SenderConfig { storage: Some(storage), ..SenderConfig::default() }
}

fn replicate(sender: &Sender, count: u64) {
    for _ in 0..count {
        let sequence = sender.current_sequence() + 1;
        assert_eq!(sender.replicate(BEGAN_US + sequence, &payload(sequence)).unwrap(), sequence);
    }
}

#[test]
fn p1_a_live_writer_is_followed_in_both_protocols() {
    let (sender, address, _) = sender(SenderConfig::default());
    let sockets = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", text(&sockets.path().join("socket")));
    sender.listen(&unix).unwrap();
    replicate(&sender, 10);
    let mut tails = [
        Running::new(&["tail", "-f", "--json", "--reader-id=v2", "--protocol=v2", &address]),
        Running::new(&["tail", "-f", "--json", "--reader-id=v1", "--protocol=v1", &unix]),
        Running::new(&["tail", "-f", "--json", "--reader-id=old", "--protocol=v1", "--coordinator", &address]),
    ];
    let mut late = Running::new(&["tail", "-f", "--json", "--reader-id=late", "--from=end", "--limit=5", &address]);
    let mut begins: Vec<Vec<Value>> = tails.iter_mut().map(|tail| (0..10).map(|_| tail.line()).collect()).collect();
    // The one that wants the end only asks first where that is.
    until("all are connected", || {
        let stats: Value = serde_json::from_str(&sender.stats_json().unwrap()).unwrap();
        let late = |reader: &Value| reader["reader_id"] == "late" && reader["lag"] == 0;
        stats["readers"].as_array().unwrap().iter().any(late)
    });
    replicate(&sender, 500);
    for (tail, lines) in tails.iter_mut().zip(&mut begins) {
        lines.extend((0..500).map(|_| tail.line()));
        assert_eq!(entries(lines), expected(1, 510));
        assert_eq!(lines[0]["timestamp_us"], BEGAN_US + 1);
    }
    assert_eq!(late.line()["sequence"], 11);
    assert_eq!(late.end().exits(0).lines().len(), 4);
    // Printed entries are acknowledged.
    until("acks", || {
        let stats: Value = serde_json::from_str(&sender.stats_json().unwrap()).unwrap();
        stats["readers"].as_array().unwrap().iter().all(|reader| reader["last_ack_seq"] == 510)
    });
    for (tail, signal) in tails.into_iter().zip([Signal::SIGINT, Signal::SIGTERM, Signal::SIGINT]) {
        tail.signal(signal);
        let ended = tail.end().exits(0);
        assert_eq!((ended.out.as_str(), ended.err.as_str()), ("", ""));
    }

    // Without --follow it ends where the writer is.
    let all = run(&["tail", "--json", "-v", &address]).exits(0);
    assert_eq!(entries(&all.lines()), expected(1, 510));
    all.says("which is at entry 510, with protocol v2");
    assert_eq!(entries(&run(&["tail", "--json", "--from=509", &unix]).exits(0).lines()), expected(509, 510));
    assert_eq!(run(&["tail", "--json", "--from=511", &unix]).exits(0).out, "");
    run(&["tail", "--from=1000", &address]).exits(7).says("REGRESSED: the writer has not come to entry 999 yet");
}

#[test]
fn p2_entries_that_a_writer_does_not_give_are_reported() {
    run(&["tail", "127.0.0.1:1"]).exits(1).says("127.0.0.1:1");
    run(&["tail", "unix:/nowhere/socket"]).exits(1).says("/nowhere/socket");
    run(&["tail", "-f", "--from=end", "127.0.0.1:1"]).exits(1).says("Connection refused");
    run(&["tail", "127.0.0.1:99999"]).exits(1).says("no number from 0 to 65535");

    // A writer that has given up its oldest entries.
    let (short, address, _) = sender(SenderConfig { buffer_size: 100, ..SenderConfig::default() });
    replicate(&short, 1000);
    let asked = run(&["tail", "--json", "--from=1", &address]).exits(5);
    asked.says("gap: entries 1 to ");
    let lines = entries(&asked.lines());
    assert!(lines[0].0 > 1);
    assert_eq!(lines, expected(lines[0].0, 1000));
    let oldest = run(&["tail", "--json", &address]).exits(0);
    assert_eq!((entries(&oldest.lines()), oldest.err.as_str()), (lines, ""));

    // Another reader takes the id.
    let mut first = Running::new(&["tail", "-f", "--json", &address]);
    first.line();
    run(&["tail", &address]).exits(0);
    let replaced = first.end().exits(6);
    replaced.says("REPLACED");
    replaced.says("--reader-id");

    // A node that is not the writer.
    short.set_writable(false).unwrap();
    run(&["tail", &address]).exits(6).says("NOT_WRITER");
    drop(short);

    // A peer that speaks something else.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let odd = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let _ = socket.read(&mut [0; 64]);
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let run = run(&["tail", &odd]);
    assert_eq!(run.status, 6, "{}", run.err);
    server.join().unwrap();
}

/// What is printable already is not escaped once more.
#[test]
fn a_writers_text_is_escaped_once() {
    let (said, shown) = ("say \"hi\" C:\\x \u{1b}[2J", r#"say "hi" C:\x \u{1b}[2J"#);
    let refusal = SyncAck { error: format!("NOT_WRITER: {said}"), ..SyncAck::default() };
    for arguments in [&["tail"][..], &["tail", "-f", "--from=end"]] {
        let door = Door::open();
        let tail = Running::new(&[arguments, &[&door.address]].concat());
        let (mut peer, _) = door.accept_sync();
        peer.send(&sync_ack_frame(&refusal));
        tail.end().exits(6).says(shown);
    }

    // One that was connected, and is again.
    let door = Door::open();
    let tail = Running::new(&["tail", "-f", &door.address]);
    let (mut peer, _) = door.welcome(0);
    peer.send(&error_frame("WRITE_FAILED", said));
    drop(peer);
    let (mut peer, _) = door.accept_sync();
    peer.send(&sync_ack_frame(&refusal));
    let ended = tail.end().exits(6);
    assert_eq!(ended.err.matches(shown).count(), 2, "{}", ended.err);

    // The path of a socket.
    let dir = tempfile::tempdir().unwrap();
    let (sender, _, _) = sender(SenderConfig::default());
    let unix = format!("unix:{}", text(&dir.path().join(r"a\b")));
    sender.listen(&unix).unwrap();
    run(&["tail", "-v", &unix]).exits(0).says(r"a\b, which is at entry 0");
}

#[test]
fn a_writer_with_tls_is_followed_by_whom_it_trusts() {
    let authority = Authority::new("replctl");
    let tls = Some(authority.strict_server());
    let (sender, address, _) = sender(SenderConfig { tls, ..SenderConfig::default() });
    replicate(&sender, 10);
    let identity = authority.issue("replctl");
    let (ca, cert, key) = (text(&authority.file), text(&identity.chain), text(&identity.key));
    let trusted = ["tail", "--json", &address, "--tls-ca", ca, "--tls-cert", cert, "--tls-key", key];
    assert_eq!(entries(&run(&trusted).exits(0).lines()), expected(1, 10));
    let name = [&trusted[..], &["--tls-name", "db.example"]].concat();
    run(&name).exits(1).says("TLS");
    run(&["tail", &address]).exits(6).says("wants TLS (--tls-ca)");
    run(&["tail", &address, "--tls-ca", "/nowhere.pem"]).exits(1).says("/nowhere.pem");
}

#[test]
fn a_writer_with_a_secret_is_followed_by_who_proves_it() {
    let mut secrets = Secrets::default();
    secrets.add(Secret::from_passphrase("shop", "tools", b"correct horse battery").unwrap()).unwrap();
    let access_rules = Some(AccessRules::parse("* * secret:tools * read").unwrap());
    let config = SenderConfig { secrets, plain_secrets_allowed: true, access_rules, ..SenderConfig::default() };
    let (sender, address, _) = sender(config);
    replicate(&sender, 10);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    fs::write(&file, "correct horse battery\n").unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let secret = ["--secret-file", text(&file), "--secret-name", "tools", "--passphrase", "--plain-secret"];
    let proving = [&["tail", "--json", &address, "--cluster", "shop"], &secret[..]].concat();
    assert_eq!(entries(&run(&proving).exits(0).lines()), expected(1, 10));
    let elsewhere = [&["tail", &address], &secret[..]].concat();
    run(&elsewhere).exits(6).says("NOT_AUTHORIZED");
    run(&["tail", &address]).exits(6).says("NOT_AUTHORIZED");
    let missing = ["tail", &address, "--secret-name", "tools", "--secret-file", "/nowhere"];
    run(&missing).exits(1).says("secret_file \"/nowhere\"");
}

#[test]
fn p7_a_writer_that_is_another_one_is_not_followed() {
    let (first, address, _) = sender(SenderConfig::default());
    replicate(&first, 20);
    let mut tail = Running::new(&["tail", "-f", "--json", &address]);
    (0..20).for_each(|_| drop(tail.line()));
    drop(first);
    let second = Sender::new(SenderConfig::default(), Box::new(Events::default())).unwrap();
    second.start().unwrap();
    replicate(&second, 20);
    until("the port is free", || second.listen(&address).is_ok());
    tail.end().exits(7).says("DIVERGED");
}

#[test]
fn a_connection_that_breaks_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (first, address, _) = sender(stored(dir.path()));
    replicate(&first, 20);
    let mut tail = Running::new(&["tail", "-f", "--json", &address]);
    let mut lines: Vec<_> = (0..20).map(|_| tail.line()).collect();
    drop(first);
    let second = Sender::new(stored(dir.path()), Box::new(Events::default())).unwrap();
    second.start().unwrap();
    replicate(&second, 20);
    until("the port is free", || second.listen(&address).is_ok());
    lines.extend((0..20).map(|_| tail.line()));
    assert_eq!(entries(&lines), expected(1, 40));
    // The directory beside it tells the same.
    assert_eq!(entries(&run(&["dump", "--json", text(dir.path())]).exits(0).lines()), expected(1, 40));
    run(&["verify", text(dir.path())]).exits(0);
    until("the slot is written", || run(&["slots", text(dir.path())]).out.contains("replctl"));
    tail.signal(Signal::SIGINT);
    let ended = tail.end().exits(0);
    ended.says("disconnected from");
    ended.says("connected to");
}

#[test]
fn checks_beside_a_busy_writer_find_nothing_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), 64 << 10);
    write_some(&log, 10);
    log.sync().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                write_some(&log, 50);
                n += 1;
                if n % 20 == 0 {
                    log.sync().unwrap();
                    trim(&log);
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        for _ in 0..15 {
            for command in ["inspect", "verify", "slots"] {
                let run = run(&[command, text(dir.path())]);
                assert_eq!(run.status, 0, "{command}: {}{}", run.out, run.err);
            }
            let run = run(&["dump", "--payload=none", text(dir.path())]);
            assert!(run.status == 0 || run.status == 5, "{}", run.err);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(DiskLog::open(DiskConfig::new(dir.path()), || Ok(start())).unwrap_err().status, Status::Locked);
}
