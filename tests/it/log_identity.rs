//! P10: what senders and receivers do when the directory of their log is moved, removed or replaced while they run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::unistd::{Gid, chown, geteuid};
use replication::error::Status;
use replication::host::{Event, EventKind};
use replication::log::SyncPolicy;
use replication::receiver::config::{LocalLogConfig, ReceiverConfig};
use replication::sender::AckLevel;

use crate::common::hosts::{payload, policy, stored, verified_end};
use crate::common::*;
use crate::process::Role;

const POLICIES: [&str; 3] = ["always", "group", "os"];
const SEGMENT: u64 = 64 << 10;
const ENTRY: usize = 2000;

/// What happens to a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Moved,
    CopiedOver,
    Removed,
    LockReplaced,
}

const DEEDS: [Deed; 4] = [Deed::Moved, Deed::CopiedOver, Deed::Removed, Deed::LockReplaced];

/// Does it. Gives where the log's files are then, if they are anywhere.
fn commit(deed: Deed, dir: &Path) -> Option<PathBuf> {
    commit_to(deed, dir, dir.with_file_name("away"))
}

/// The same; what is moved goes to `away`.
fn commit_to(deed: Deed, dir: &Path, away: PathBuf) -> Option<PathBuf> {
    match deed {
        Deed::Moved => fs::rename(dir, &away).unwrap(),
        Deed::CopiedOver => {
            fs::rename(dir, &away).unwrap();
            fs::create_dir(dir).unwrap();
            for file in fs::read_dir(&away).unwrap() {
                let path = file.unwrap().path();
                // One that has its name for a moment only may be gone.
                let _ = fs::copy(&path, dir.join(path.file_name().unwrap()));
            }
        }
        Deed::Removed => {
            // Another file may be made while it goes.
            while fs::remove_dir_all(dir).is_err() {}
            return None;
        }
        Deed::LockReplaced => {
            fs::write(dir.join("new"), "").unwrap();
            fs::rename(dir.join("new"), dir.join("lock")).unwrap();
            return Some(dir.into());
        }
    }
    Some(away)
}

fn check(event: &Event, deed: Deed, what: &str) {
    assert_eq!(event.status, Status::Io, "{what}: {event:?}");
    let texts: &[&str] = match deed {
        Deed::Moved => &["there is no log directory "],
        // It goes file by file.
        Deed::Removed => &["there is no log directory ", "the lock file "],
        // For a moment nothing has the name.
        Deed::CopiedOver => &["took the place of the log's directory ", "there is no log directory "],
        Deed::LockReplaced => &["the lock file "],
    };
    let named = texts.iter().any(|text| event.message.contains(text));
    assert!(named && event.message.contains("/log"), "{what}: {event:?}");
}

/// What lies in a directory, to see that nobody changes it.
fn contents(dir: &Path) -> Option<Vec<(PathBuf, Vec<u8>)>> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .ok()?
        .map(|file| file.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    Some(files)
}

/// Also one that has nothing to do.
#[test]
fn p10_a_sender_notices_soon_that_its_directory_is_lost() {
    for (deed, sync) in DEEDS.into_iter().zip(POLICIES.into_iter().cycle()) {
        let what = format!("{deed:?}, {sync}");
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("log");
        let (sender, _, events) = sender(stored(&dir, policy(sync), SEGMENT, 1 << 30));
        let last = (1..=50).map(|n| sender.replicate(0, &payload(n, 0, ENTRY)).unwrap()).last().unwrap();
        sender.wait_durable(last, Duration::from_secs(20)).unwrap();
        let away = commit(deed, &dir);
        let theirs = contents(&dir);
        check(&events.wait(EventKind::WalFailed), deed, &what);
        assert_eq!(sender.replicate(0, &payload(last + 1, 0, ENTRY)).unwrap_err().status, Status::Io, "{what}");
        assert_eq!(sender.wait_durable(last, Duration::ZERO).map_err(|error| error.status), Ok(()), "{what}");
        drop(sender);
        assert_eq!(events.count(EventKind::WalFailed), 1, "{what}");
        if !matches!(deed, Deed::LockReplaced) {
            assert!(contents(&dir) == theirs, "{what}: the directory of somebody else");
        }
        if let Some(away) = away {
            assert_eq!(verified_end(&away), last, "{what}");
        }
    }
}

/// Entries that were taken and not synced before the loss are saved, and durable for nobody.
#[test]
fn p10_what_only_the_rescue_wrote_is_confirmed_to_nobody() {
    let group = SyncPolicy::Group { interval: Duration::from_secs(3600), bytes: u64::MAX };
    for (deed, sync) in DEEDS.into_iter().flat_map(|deed| [group, SyncPolicy::Os].map(|sync| (deed, sync))) {
        let what = format!("{deed:?}, {sync:?}");
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("log");
        let (sender, _, events) = sender(stored(&dir, sync, SEGMENT, 1 << 30));
        let confirmed = sender.replicate(0, &payload(1, 0, ENTRY)).unwrap();
        sender.wait_durable(confirmed, Duration::from_secs(20)).unwrap();
        let last = (2..=11).map(|n| sender.replicate(0, &payload(n, 0, ENTRY)).unwrap()).last().unwrap();
        let away = commit(deed, &dir);
        check(&events.wait(EventKind::WalFailed), deed, &what);
        let outcome = |sequence| sender.wait_durable(sequence, Duration::ZERO).map_err(|error| error.status);
        assert_eq!(
            (outcome(confirmed), outcome(confirmed + 1), outcome(last)),
            (Ok(()), Err(Status::Io), Err(Status::Io))
        );
        assert_eq!(stat(sender.stats_json(), "wal_durable_sequence"), confirmed, "{what}");
        drop(sender);
        if let Some(away) = away {
            assert_eq!(verified_end(&away), last, "{what}");
        }
    }
}

/// Entries that were answered OK are in the directory that the log had, although nobody has waited for them to be
/// durable.
#[test]
fn p10_what_was_taken_before_a_directory_is_lost_is_in_it() {
    for (deed, sync) in DEEDS.into_iter().flat_map(|deed| POLICIES.map(|sync| (deed, sync))) {
        let what = format!("{deed:?}, {sync}");
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("log");
        let (sender, _, events) = sender(stored(&dir, policy(sync), SEGMENT, 1 << 30));
        let taken = Arc::new(AtomicU64::new(0));
        let writing = std::thread::spawn({
            let taken = Arc::clone(&taken);
            move || {
                while let Ok(last) = sender.replicate(0, &payload(sender.current_sequence() + 1, 0, ENTRY)) {
                    taken.store(last, Ordering::SeqCst);
                }
                sender
            }
        });
        until("entries are taken", || taken.load(Ordering::SeqCst) > 100);
        let away = commit(deed, &dir);
        let sender = writing.join().unwrap();
        check(&events.wait(EventKind::WalFailed), deed, &what);
        drop(sender);
        if let Some(away) = away {
            let (end, taken) = (verified_end(&away), taken.load(Ordering::SeqCst));
            assert!(end >= taken, "{what}: the log ends at {end}, {taken} was taken");
        }
    }
}

/// Whatever was confirmed before is in the directory that the log had.
#[test]
fn p10_what_was_confirmed_while_a_directory_is_lost_is_in_it() {
    for (deed, sync) in DEEDS.into_iter().flat_map(|deed| POLICIES.map(|sync| (deed, sync))) {
        let what = format!("{deed:?}, {sync}");
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("log");
        let (sender, _, events) = sender(stored(&dir, policy(sync), SEGMENT, 1 << 30));
        let confirmed = Arc::new(AtomicU64::new(0));
        let writing = std::thread::spawn({
            let confirmed = Arc::clone(&confirmed);
            move || {
                loop {
                    let n = sender.current_sequence() + 1;
                    let durable = |last| sender.wait_durable(last, Duration::from_secs(20)).map(|()| last);
                    match sender.replicate(0, &payload(n, 0, ENTRY)).and_then(durable) {
                        Ok(last) => confirmed.store(last, Ordering::SeqCst),
                        Err(error) => return (sender, error),
                    }
                }
            }
        });
        // A few segments.
        until("entries are confirmed", || confirmed.load(Ordering::SeqCst) > 100);
        let away = commit(deed, &dir);
        let (sender, error) = writing.join().unwrap();
        assert_eq!(error.status, Status::Io, "{what}: {error}");
        check(&events.wait(EventKind::WalFailed), deed, &what);
        let confirmed = confirmed.load(Ordering::SeqCst);
        drop(sender);
        if let Some(away) = away {
            let end = verified_end(&away);
            assert!(end >= confirmed, "{what}: the log ends at {end}, {confirmed} was confirmed");
        }
    }
}

/// A reader says nothing is durable that its host would not find again, and ends.
#[test]
fn p6_p10_a_receiver_notices_soon_that_its_directory_is_lost() {
    for (deed, busy) in DEEDS.into_iter().flat_map(|deed| [(deed, false), (deed, true)]) {
        let what = format!("{deed:?}, busy: {busy}");
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("log");
        let (sender, address, _) = sender(Default::default());
        let local_log = Some(LocalLogConfig { segment_bytes: SEGMENT, ..LocalLogConfig::new(&dir) });
        let (receiver, applied, events) = receiver(ReceiverConfig { local_log, ..receiver_config("reader", &address) });
        let last = (1..=50).map(|n| sender.replicate(0, &payload(n, 0, ENTRY)).unwrap()).last().unwrap();
        sender.wait_acked(last, AckLevel::Durable, 1, Duration::from_secs(20)).unwrap();
        until("all is applied", || applied.last() == last);
        let away = commit(deed, &dir);
        let theirs = contents(&dir);
        // Entries after the loss are not durable.
        let next = busy.then(|| sender.replicate(0, &payload(last + 1, 0, ENTRY)).unwrap());
        check(&events.wait(EventKind::WalFailed), deed, &what);
        until("it ends", || !receiver.is_connected());
        assert_eq!(events.count(EventKind::WalFailed), 1, "{what}");
        drop(receiver);
        let durable = |sequence| sender.wait_acked(sequence, AckLevel::Durable, 1, Duration::ZERO).unwrap();
        assert_eq!(next.map_or(0, durable), 0, "{what}");
        if !matches!(deed, Deed::LockReplaced) {
            assert!(contents(&dir) == theirs, "{what}: the directory of somebody else");
        }
        if let Some(away) = away {
            assert!(verified_end(&away) >= last, "{what}");
        }
    }
}

/// A receiver that has got nothing yet keeps its place as well.
#[test]
fn p10_a_receiver_without_a_log_yet_notices_that_its_directory_is_lost() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("log");
    let local_log = Some(LocalLogConfig::new(&dir));
    let nobody = format!("unix:{}", scratch.path().join("socket").display());
    let (receiver, _, events) = receiver(ReceiverConfig { local_log, ..receiver_config("reader", &nobody) });
    fs::remove_dir_all(&dir).unwrap();
    check(&events.wait(EventKind::WalFailed), Deed::Removed, "a receiver without a log");
    drop(receiver);
    assert!(!dir.exists());
}

// ---- without rights -------------------------------------------------------------------------------------------------

const NOBODY: u32 = 65_534;

/// A daemon that may not look at its log's place any more goes on as long as nothing happens there, also in a root
/// directory without `/proc`, and notices what happens.
#[test]
fn p10_a_process_without_rights_goes_on_and_notices_that_its_directory_is_lost() {
    if !geteuid().is_root() {
        println!("skipped: only root has rights to give up");
        return;
    }
    for (root, deed) in ["", "jail", "."].into_iter().flat_map(|root| DEEDS.map(|deed| (root, deed))) {
        let what = format!("{deed:?}, root {root:?}");
        let scratch = tempfile::tempdir().unwrap();
        let (parent, elsewhere) = (scratch.path().join("parent"), scratch.path().join("elsewhere"));
        let dir = parent.join("log");
        for (path, mode) in
            [(&parent, 0o700), (&elsewhere, 0o700), (&scratch.path().join("jail"), 0o755), (&dir, 0o770)]
        {
            fs::create_dir(path).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        chown(&dir, None, Some(Gid::from_raw(NOBODY))).unwrap();
        let new_root = if root.is_empty() { String::new() } else { scratch.path().join(root).display().to_string() };
        let sync = POLICIES[DEEDS.iter().position(|other| *other == deed).unwrap() % 3];
        let mut daemon = Role::play(
            "daemon",
            &[
                ("dir", &dir.display()),
                ("root", &new_root),
                ("sync", &sync),
                ("segment", &SEGMENT),
                ("size", &ENTRY),
                ("nobody", &NOBODY),
            ],
        );
        let confirmed: u64 = daemon.hear("confirmed", 1).parse().unwrap();
        // Without `/proc` another name in the same parent is not noticed.
        let away = if root.is_empty() { parent.join("away") } else { elsewhere.join("log") };
        let away = commit_to(deed, &dir, away);
        daemon.tell("it is done");
        let failed = daemon.hear("failed", 1);
        let texts: &[&str] = match (deed, root) {
            (Deed::Moved | Deed::CopiedOver, "") => &["/log is not in its place any more: it was moved to "],
            (Deed::Moved | Deed::CopiedOver, _) => &["/log is not in its place any more: it was moved away"],
            // It goes file by file.
            (Deed::Removed, _) => &["/log is not in its place any more: it was removed", "the lock file "],
            (Deed::LockReplaced, _) => &["the lock file "],
        };
        assert!(failed.starts_with("Io ") && texts.iter().any(|text| failed.contains(text)), "{what}: {failed}");
        daemon.hear("done", 1);
        daemon.end();
        if let Some(away) = away {
            assert!(verified_end(&away) >= confirmed, "{what}");
        }
    }
}
