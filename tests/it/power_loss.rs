//! P6, P7, P10: a machine loses its power while a writer or a reader of it works: what was not synced is gone, and some
//! of it is garbage. Then it is started again.
//!
//! The process is killed, and its log is brought into a state that a loss of power may leave, as `docs/log-format.md`
//! describes it: this file reads the commit copies with nothing but that text.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use replication::host::EventKind;
use replication::log::disk::verify;
use replication::protocol::entry::payload_crc as crc32c;
use replication::receiver::config::{LocalLogConfig, ReceiverConfig};
use replication::sender::{AckLevel, Sender};

use crate::common::hosts::{
    Seen, Store, last_segment, life_of, only_connections, payload, policy, stored, verified_end,
};
use crate::common::*;
use crate::process::Role;

const SEGMENT: u64 = 64 << 10;
const ENTRY: usize = 3000;

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn bytes(&mut self, count: u64) -> Vec<u8> {
        (0..count).map(|_| self.roll(256) as u8).collect()
    }
}

/// What the power may leave of a log's last segment.
#[derive(Clone, Copy, Debug)]
enum Left {
    /// What was synced, and garbage.
    Synced,
    /// What was synced, a part of what was not, and garbage.
    Part,
    /// What was synced; but not the note of the last sync, which becomes durable with the next one.
    OldSlot,
}

fn be64(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[..8].try_into().unwrap())
}

/// Takes away what was not synced. Gives the last sequence that was.
fn lose_power(dir: &Path, left: Left, dice: &mut Dice) -> u64 {
    for file in std::fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let Some(path) = last_segment(dir) else { return 0 };
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut head = [0; 2048];
    file.read_exact_at(&mut head, 0).unwrap();
    let slot = |at: usize| {
        let slot = &head[at..at + 56];
        let stored = u32::from_be_bytes(slot[52..].try_into().unwrap());
        let covered = [&head[88..92], &slot[..52]].concat();
        (crc32c(&covered) == stored).then(|| (be64(slot), be64(&slot[8..]), be64(&slot[16..]), at))
    };
    let (generation, position, sequence, at) = [512, 1024].into_iter().filter_map(slot).max().unwrap();
    let synced = 16384 + position - be64(&head[40..]);
    let length = file.metadata().unwrap().len();
    let keep = match left {
        Left::Part => synced + dice.roll((length - synced).max(1)),
        _ => synced,
    };
    file.set_len(keep).unwrap();
    let garbage = dice.roll(5000);
    file.write_all_at(&dice.bytes(garbage), keep).unwrap();
    let sealed = head[at + 40..at + 44] != [0; 4];
    if matches!(left, Left::OldSlot) && generation > 1 && !sealed {
        file.write_all_at(&[0; 56], at as u64).unwrap();
    }
    sequence
}

const LEFT: [Left; 3] = [Left::Synced, Left::Part, Left::OldSlot];

/// Readers stay, and are never ahead of the writer that comes back: they were shown only what was synced.
#[test]
fn p7_p10_a_writer_that_lost_its_power_is_not_behind_anybody() {
    for sync in ["always", "group"] {
        let scratch = tempfile::tempdir().unwrap();
        let (dir, kept) = (scratch.path().join("writer"), scratch.path().join("reader"));
        let address = format!("unix:{}", scratch.path().join("socket").display());
        let follow = |id: &str, local_log| {
            let (seen, events) = (Seen::default(), Events::default());
            let config = ReceiverConfig {
                local_log,
                reconnect_interval: Duration::from_millis(20),
                ..receiver_config(id, &address)
            };
            (start(config, seen.clone(), &events).unwrap(), seen, events)
        };
        let readers = [follow("plain", None), follow("keeper", Some(LocalLogConfig::new(&kept)))];
        let (mut dice, mut promised, mut last) = (Dice(7), BTreeMap::new(), 0);
        for life in 0..13u64 {
            let mut writer = Role::play(
                "writer",
                &[
                    ("dir", &dir.display()),
                    ("address", &address),
                    ("life", &life),
                    ("epoch", &0),
                    ("sync", &sync),
                    ("segment", &SEGMENT),
                    ("retain", &(1u64 << 30)),
                    ("size", &ENTRY),
                    ("readers", &2),
                    ("point", &""),
                    ("hit", &0),
                ],
            );
            let opened: u64 = writer.hear("opened", 1).parse().unwrap();
            let had = promised.last_key_value().map_or(0, |(sequence, _)| *sequence);
            // By now they may have entries of this life as well.
            let before = readers.iter().flat_map(|(_, seen, _)| seen.entries()).filter(|entry| entry.1 < life);
            let seen = before.map(|(sequence, _)| sequence).max().unwrap_or(0);
            assert!(opened >= had, "{sync}: opened at {opened}, {had} was durable");
            assert!(opened >= seen, "{sync}: opened at {opened}, a reader had {seen}");
            writer.hear("durable", 1 + dice.roll(30) as usize);
            if life < 12 {
                writer.kill();
            } else {
                writer.tell("finish");
                last = writer.hear("done", 1).parse().unwrap();
                writer.ended();
            }
            for line in writer.said("durable").iter().chain(&writer.said("acked")) {
                let (sequence, life) = line.split_once(' ').unwrap();
                let (sequence, life): (u64, u64) = (sequence.parse().unwrap(), life.parse().unwrap());
                let before = promised.insert(sequence, life);
                assert!(before.is_none_or(|before| before == life), "{sequence} was durable and is written again");
            }
            if life < 12 {
                lose_power(&dir, LEFT[life as usize % 3], &mut dice);
            }
        }
        for (receiver, seen, events) in readers {
            receiver.wait_sequence(last, PATIENCE).unwrap();
            receiver.stop().unwrap();
            only_connections(&events);
            let entries = seen.entries();
            assert!(entries.iter().map(|(sequence, _)| *sequence).eq(1..=last), "{sync}: not 1 to {last}");
            let got: BTreeMap<u64, u64> = entries.into_iter().collect();
            for (sequence, life) in &promised {
                assert_eq!(
                    got.get(sequence),
                    Some(life),
                    "{sync}: entry {sequence} was durable and is another one now"
                );
            }
            for entry in verify::entries(&dir, 0).unwrap().map(Result::unwrap) {
                assert_eq!(got[&entry.sequence], life_of(entry.sequence, &entry.payload).unwrap());
            }
        }
        assert_eq!((verified_end(&dir), verified_end(&kept)), (last, last), "{sync}");
    }
}

/// A reader's own log: what it acknowledged as durable is there, and its host gets everything, wherever it stands.
#[test]
fn p6_p10_a_reader_that_lost_its_power_has_what_it_acknowledged() {
    for (sync, host) in
        ["always", "group", "os"].iter().flat_map(|sync| ["transactions", "position"].map(|host| (sync, host)))
    {
        let what = format!("{sync}, {host}");
        let scratch = tempfile::tempdir().unwrap();
        let (dir, kept) = (scratch.path().join("writer"), scratch.path().join("reader"));
        let file = scratch.path().join("applied");
        let (sender, address, events) = sender(stored(&dir, policy("group"), SEGMENT, 1 << 30));
        let (sender, durable, over) = (&sender, &AtomicU64::new(0), &AtomicBool::new(false));
        let mut dice = Dice(11);
        std::thread::scope(|scope| {
            let feeding = scope.spawn(move || feed(sender, durable, over));
            // A failure here also ends the feed.
            let over = Over(over);
            for life in 0..7 {
                let begun = durable.load(Ordering::SeqCst);
                let mut reader = Role::play(
                    "reader",
                    &[
                        ("host", &host),
                        ("file", &file.display()),
                        ("dir", &kept.display()),
                        ("address", &address),
                        ("sync", sync),
                        ("segment", &SEGMENT),
                        ("retain", &(SEGMENT * 4)),
                        ("point", &""),
                        ("hit", &0),
                    ],
                );
                let more = 20 + dice.roll(60);
                until("progress", || durable.load(Ordering::SeqCst) > begun + more);
                if life < 6 {
                    reader.kill();
                    // An acknowledgement may still be on its way to the feed, never one of this end.
                    until("the end of the connection", || sender.reader_count() == 0);
                    let synced = lose_power(&kept, LEFT[life % 3], &mut dice);
                    let acked = durable.load(Ordering::SeqCst);
                    assert!(synced >= acked, "{what}: {acked} was acknowledged as durable, {synced} is there");
                    assert!(verified_end(&kept) >= acked, "{what}");
                    forget_position(&kept.join("applied"), life);
                } else {
                    over.0.store(true, Ordering::SeqCst);
                    until("the last entry", || feeding.is_finished());
                    until("all of it", || {
                        let last = sender.current_sequence();
                        sender.wait_acked(last, AckLevel::Applied, 1, PATIENCE).unwrap() == 1
                    });
                    reader.tell("finish");
                    reader.hear("done", 1);
                }
                for event in reader.said("event") {
                    assert!(event.starts_with("Connected ") || event.starts_with("Disconnected "), "{what}: {event}");
                }
            }
        });
        let last = sender.current_sequence();
        sender.wait_durable(last, PATIENCE).unwrap();
        let applied = Store::read(&file);
        if host == "transactions" {
            assert!(applied.iter().map(|(sequence, _)| *sequence).eq(1..=last), "{what}: not each once");
        } else {
            let skipped = applied.windows(2).find(|pair| pair[1].0 > pair[0].0 + 1);
            assert!(skipped.is_none() && applied[0].0 == 1, "{what}: {skipped:?}");
            assert_eq!(applied.last().unwrap().0, last, "{what}");
        }
        assert_eq!(verified_end(&kept), last, "{what}");
        assert_eq!(events.count(EventKind::Refused), 0, "{what}: {:?}", events.all());
    }
}

/// Ends the feed when it goes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Writes a little ahead of what the reader has acknowledged as durable, which it notes.
fn feed(sender: &Sender, durable: &AtomicU64, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        let last = sender.current_sequence();
        let last = if last < durable.load(Ordering::SeqCst) + 40 {
            sender.replicate(last, &payload(last + 1, 0, ENTRY)).unwrap()
        } else {
            last
        };
        for wanted in [durable.load(Ordering::SeqCst) + 1, last] {
            let patience = Duration::from_millis(2);
            if sender.wait_acked(wanted.min(last), AckLevel::Durable, 1, patience).unwrap() > 0 {
                durable.fetch_max(wanted.min(last), Ordering::SeqCst);
            }
        }
    }
}

/// The last note of a handler's position is not synced: in every other life, the one before it is there again.
fn forget_position(path: &Path, life: usize) {
    if life.is_multiple_of(2) {
        return;
    }
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let generation = |at: u64| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).unwrap();
        be64(&bytes)
    };
    let newest = if generation(4096) > generation(8192) { 4096 } else { 8192 };
    // Torn: its first bytes are those of the note before the last one.
    file.write_all_at(&[0; 8], newest).unwrap();
}
