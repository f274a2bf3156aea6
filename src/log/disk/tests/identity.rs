//! A directory or a lock file that is moved, removed or replaced while its log is open.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::super::position::PositionFile;
use super::super::slots::{SlotFile, SlotRecord, SlotRecords, SlotState};
use super::*;
use crate::protocol::token::Token;

/// What somebody does to the log in `dir`. Gives where its files are then, if they are anywhere.
type Deed = fn(&Path) -> Option<PathBuf>;

fn moved(dir: &Path) -> Option<PathBuf> {
    let away = dir.with_file_name("away");
    fs::rename(dir, &away).unwrap();
    Some(away)
}

fn copied_over(dir: &Path) -> Option<PathBuf> {
    let away = moved(dir)?;
    fs::create_dir(dir).unwrap();
    put_files(dir, &files(&away));
    Some(away)
}

const DEEDS: &[(&str, Deed, &str)] = &[
    ("moved", moved, "any more: it was moved to "),
    ("copied over", copied_over, "took the place of the log's directory"),
    (
        "replaced by an empty one",
        |dir| {
            let away = moved(dir);
            fs::create_dir(dir).unwrap();
            away
        },
        "took the place of the log's directory",
    ),
    (
        "replaced by a link to itself",
        |dir| {
            let away = moved(dir)?;
            symlink(&away, dir).unwrap();
            Some(away)
        },
        "took the place of the log's directory",
    ),
    (
        "replaced by a file",
        |dir| {
            let away = moved(dir);
            fs::write(dir, "a file").unwrap();
            away
        },
        "took the place of the log's directory",
    ),
    (
        "removed",
        |dir| {
            fs::remove_dir_all(dir).unwrap();
            None
        },
        "any more: it was removed",
    ),
    (
        "removed and made anew",
        |dir| {
            fs::remove_dir_all(dir).unwrap();
            fs::create_dir(dir).unwrap();
            None
        },
        "took the place of the log's directory",
    ),
    (
        "without its lock file",
        |dir| {
            fs::remove_file(dir.join("lock")).unwrap();
            Some(dir.into())
        },
        "/lock was removed",
    ),
    (
        "with another lock file",
        |dir| {
            fs::write(dir.join("new"), "").unwrap();
            fs::rename(dir.join("new"), dir.join("lock")).unwrap();
            Some(dir.into())
        },
        "/lock was replaced",
    ),
];

/// Opens a log of small segments in `parent`/log, with entries that are synced.
fn opened(parent: &Path) -> (PathBuf, DiskLog) {
    let dir = parent.join("log");
    let (log, _) = DiskLog::open(config(&dir, 300), start).unwrap();
    log.write(&encode(0, &[100, 100, 100, 100])).unwrap();
    log.sync().unwrap();
    (dir, log)
}

fn lost<T: std::fmt::Debug>(result: Result<T>, what: &str, text: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.status, Status::Io, "{what}: {error}");
    assert!(error.message.contains(text) && error.message.contains("/log"), "{what}: {error}");
}

/// P10: nothing is confirmed in a directory that the host would not find again, and no other log is touched.
#[test]
fn p10_a_log_that_lost_its_directory_or_its_lock_confirms_nothing() {
    for (what, deed, text) in DEEDS {
        // With entries to sync, with some that need another segment, and with an epoch to begin.
        for step in ["sync", "write", "begin an epoch", "nothing"] {
            let what = format!("{what}, {step}");
            let parent = scratch();
            let (dir, log) = opened(parent.path());
            let confirmed = log.synced();
            log.write(&encode(4, &[5])).unwrap();
            let away = deed(&dir);
            let others = dir.is_dir().then(|| files(&dir));
            match step {
                "sync" => lost(log.sync(), &what, text),
                "write" => lost(log.write(&encode(5, &[400])), &what, text),
                "begin an epoch" => lost(log.begin_epoch(2), &what, text),
                _ => lost(log.check_identity(), &what, text),
            }
            assert!(!log.is_usable(), "{what}");
            assert_eq!(log.synced(), confirmed, "{what}");
            // For good, and whatever becomes of the directory.
            lost(log.write(&encode(5, &[5])), &what, text);
            lost(log.sync(), &what, text);
            drop(log);
            if away.as_ref() != Some(&dir) {
                assert!(dir.is_dir().then(|| files(&dir)) == others, "{what}: the directory of somebody else");
            }
            if let Some(away) = away {
                let (log, recovery) = DiskLog::open(config(&away, 300), never).unwrap();
                assert!(recovery.mark.sequence >= confirmed.sequence, "{what}: {recovery:?}");
                assert!(read_all(&log, 0).unwrap().unwrap().starts_with(&encode(0, &[100; 4])), "{what}");
            }
        }
    }
}

#[test]
fn p10_slots_and_positions_are_not_stored_in_a_lost_directory() {
    let record = SlotRecord { position: 1, sequence: 1, hash: 1, updated_us: 1, state: SlotState::Held };
    let slots = SlotRecords::from([("r".to_owned(), record)]);
    let token = Token { stream_id: STREAM, epoch: 1, sequence: 1, hash: 1 };
    for (what, deed, text) in DEEDS {
        let parent = scratch();
        let (dir, log) = opened(parent.path());
        let (slot_file, _) = SlotFile::load_in(Arc::clone(log.directory())).unwrap();
        let (mut position, _) = PositionFile::open_in(Arc::clone(log.directory()), "applied").unwrap();
        slot_file.store(&slots).unwrap();
        position.store(&token, true).unwrap();
        let away = deed(&dir);
        let others = dir.is_dir().then(|| files(&dir));
        lost(slot_file.store(&SlotRecords::new()), what, text);
        lost(position.store(&Token { sequence: 2, ..token }, true), what, text);
        let error = position.store(&Token { sequence: 3, ..token }, false).unwrap_err();
        assert_eq!(error.status, Status::Io, "{what}: {error}");
        assert!(dir.is_dir().then(|| files(&dir)) == others, "{what}");
        if let Some(away) = away {
            assert_eq!(SlotFile::load(&away).unwrap().1, slots, "{what}");
            assert_eq!(PositionFile::read(&away, "applied").unwrap(), Some(token), "{what}");
        }
    }
}

/// A directory for which there is no log yet is watched as well.
#[test]
fn p10_no_log_begins_in_a_lost_directory() {
    for (what, deed, text) in DEEDS {
        let parent = scratch();
        let dir = parent.path().join("log");
        let Contents::Vacant(vacant) = DiskLog::find(config(&dir, 300)).unwrap() else { panic!("there is no log") };
        deed(&dir);
        lost(vacant.begin(start().unwrap()).map(drop), what, text);
        assert!(!dir.is_dir() || files(&dir).keys().all(|name| !name.contains(".seg")), "{what}");
    }
}

/// What is read comes from the files that the log had.
#[test]
fn p1_a_moved_log_reads_its_own_segments() {
    let parent = scratch();
    let (dir, log) = opened(parent.path());
    moved(&dir);
    fs::create_dir(&dir).unwrap();
    small_log(&dir, 300, &[7; 60]);
    assert_eq!(read_all(&log, 0).unwrap().unwrap(), encode(0, &[100; 4]));
}

/// The lock file may be removed; the directory stays locked.
#[test]
fn a_log_without_its_lock_file_is_not_opened_twice() {
    let parent = scratch();
    let (dir, log) = opened(parent.path());
    fs::remove_file(dir.join("lock")).unwrap();
    let before = files(&dir);
    for dir in [&dir, &dir.join(".")] {
        let error = DiskLog::open(config(dir, 300), never).unwrap_err();
        assert_eq!(error.status, Status::Locked, "{error}");
    }
    assert_eq!(files(&dir), before);
    drop(log);
    DiskLog::open(config(&dir, 300), never).unwrap();
}

#[test]
fn a_lock_file_that_has_another_name_keeps_its_bytes() {
    let parent = scratch();
    let dir = parent.path().join("log");
    fs::create_dir(&dir).unwrap();
    let other = parent.path().join("other");
    fs::write(&other, "somebody else's").unwrap();
    fs::hard_link(&other, dir.join("lock")).unwrap();
    small_log(&dir, 300, &[1]);
    assert_eq!(fs::read(&other).unwrap(), b"somebody else's");
}

/// A link in the place of the directory is followed once, when the log is opened.
#[test]
fn a_directory_may_be_a_link_and_the_link_may_change() {
    let parent = scratch();
    let (real, other, link) = (parent.path().join("log"), parent.path().join("other"), parent.path().join("link"));
    fs::create_dir(&real).unwrap();
    fs::create_dir(&other).unwrap();
    symlink("log", &link).unwrap();
    let (log, _) = DiskLog::open(config(&link, 300), start).unwrap();
    assert_eq!(log.dir(), real);
    fs::remove_file(&link).unwrap();
    symlink("other", &link).unwrap();
    log.write(&encode(0, &[100, 400])).unwrap();
    assert_eq!(log.sync().unwrap().sequence, 2);
    assert!(files(&other).is_empty());
    moved(&real);
    lost(log.check_identity(), "moved behind a link", "it was moved to");
}

/// A path that ends in `..` leads to where it says, or nowhere: not to the root directory.
#[test]
fn a_directory_that_ends_in_two_dots_is_resolved_or_refused() {
    let parent = scratch();
    let at = |path: &str| parent.path().join(path);
    symlink("nothing", at("dangling")).unwrap();
    fs::create_dir(at("child")).unwrap();
    fs::write(at("file"), "").unwrap();
    for path in ["missing/..", "dangling/..", "file/..", "missing/../..", "child/../missing/.."] {
        let error = Dir::open(&at(path)).unwrap_err();
        assert_eq!(error.status, Status::Io, "{path}: {error}");
        assert!(error.message.contains(path), "{path}: {error}");
    }
    assert_eq!(Dir::open(&at("child/..")).unwrap().path(), parent.path());
    for root in ["/", "//", "/.", "/.."] {
        assert_eq!(Dir::open(Path::new(root)).unwrap().path(), Path::new("/"));
    }
    let (log, _) = DiskLog::open(config(&at("child/.."), 300), start).unwrap();
    assert!(at("lock").exists());
    log.check_identity().unwrap();
}

/// Others who read a log do not go on in one that took its place.
#[test]
fn p1_a_tail_ends_when_its_directory_is_replaced() {
    let parent = scratch();
    let (dir, log) = opened(parent.path());
    let mut tail = verify::entries(&dir, 0).unwrap();
    assert_eq!(tail.by_ref().count(), 4);
    drop(log);
    moved(&dir);
    fs::create_dir(&dir).unwrap();
    small_log(&dir, 300, &[100; 9]);
    lost(tail.next().unwrap().map(drop), "replaced", "took the place");
}

/// A process that gave up its rights may not look up the directory any more, and goes on as long as it may write.
#[test]
fn p10_a_log_goes_on_when_its_parent_may_not_be_searched() {
    use std::os::unix::fs::PermissionsExt;
    let parent = scratch();
    let (dir, log) = opened(parent.path());
    let search = |mode| fs::set_permissions(parent.path(), fs::Permissions::from_mode(mode)).unwrap();
    log.write(&encode(4, &[100])).unwrap();
    search(0o600);
    let unprivileged = nix::unistd::Uid::from_raw(65_534);
    let before = nix::unistd::geteuid();
    // Rights are a thread's own. Only root has some to give up.
    let as_nobody = |id| nix::unistd::setfsuid(id);
    as_nobody(unprivileged);
    let synced = log.sync().map(|mark| mark.sequence);
    as_nobody(before);
    assert_eq!(synced.map_err(|error| error.message), Ok(5));
    search(0o700);
    moved(&dir);
    lost(log.sync(), "moved", "it was moved to");
}

/// What was taken before is saved in the directory that the log had, and confirmed to nobody.
#[test]
fn p10_what_was_taken_before_is_saved_where_it_can_be() {
    for (what, deed, _) in DEEDS {
        let parent = scratch();
        let (dir, log) = opened(parent.path());
        let away = deed(&dir);
        let others = dir.is_dir().then(|| files(&dir));
        // Not before it is known to be lost.
        assert!(log.rescue().is_none(), "{what}");
        log.check_identity().unwrap_err();
        if let Some(rescue) = log.rescue() {
            rescue.write_verified(&encode(4, &[100; 9])).unwrap();
            rescue.sync().unwrap();
            assert_eq!(log.written().sequence, 13, "{what}");
        }
        assert_eq!(log.synced().sequence, 4, "{what}: confirmed");
        assert!(!log.is_usable() && log.write(&encode(13, &[1])).is_err() && log.sync().is_err(), "{what}");
        drop(log);
        let Some(away) = away else { continue };
        if away != dir && !dir.is_symlink() {
            assert!(dir.is_dir().then(|| files(&dir)) == others, "{what}: the directory of somebody else");
        }
        let (log, recovery) = DiskLog::open(config(&away, 300), never).unwrap();
        assert_eq!(recovery.mark.sequence, 13, "{what}");
        assert_eq!(read_all(&log, 0).unwrap().unwrap(), encode(0, &[100; 13]), "{what}");
    }
}
