//! A sender's log on disk: opening it, the threads that store it, the task that saves its slots, and the events of
//! these.

use std::sync::Arc;

use serde_json::json;

use super::config::{SenderConfig, StorageConfig};
use super::life::Life;
use super::report::SenderReport;
use super::slots::{self, Slots};
use crate::engine::lineage::{Follower, Source, Verdict, judge};
use crate::engine::stall::{Operation, Stall};
use crate::engine::writer::life::Stage;
use crate::error::{Error, Result, Status};
use crate::host::{Event, EventKind};
use crate::log::disk::{Cut, Dir, DiskLog, LogStart, at_opening};
use crate::log::{Log, LogConfig, Mark, UpkeepNews};
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::protocol::handshake::{Point, hex};
use crate::protocol::lineage::Lineage;
use crate::threads::{self, Thread};
use crate::{clock, runtime};

/// An opened log and its lineage.
pub(super) struct Opened {
    pub(super) log: Log,
    pub(super) lineage: Lineage,
    /// Its directory.
    pub(super) dir: Arc<Dir>,
    /// A torn tail that was cut off.
    pub(super) cut: Option<Cut>,
}

/// Opens the log in the configured directory, or begins one there.
pub(super) fn open(config: &SenderConfig, storage: &StorageConfig, memory: LogConfig) -> Result<Opened> {
    let begin = || {
        let lineage = config.lineage.map_or_else(Lineage::random, Ok)?;
        let mark = Mark { hash: super::history_before(config, &lineage), ..memory.start };
        Ok(LogStart { lineage, mark })
    };
    let (disk, recovery) = DiskLog::open(storage.disk(config.insecure_permissions_allowed), begin)?;
    let lineage = continued(config, storage, &disk, recovery.lineage)?;
    let dir = Arc::clone(disk.directory());
    Ok(Opened { log: Log::stored(memory, disk, storage.sync), lineage, dir, cut: recovery.cut })
}

/// The lineage with which the log on disk continues, or why it cannot with the one that the host gives.
fn continued(config: &SenderConfig, storage: &StorageConfig, disk: &DiskLog, found: Lineage) -> Result<Lineage> {
    let (dir, end) = (storage.dir.display(), disk.written().sequence);
    let Some(wanted) = config.lineage else {
        if config.last_sequence != 0 && config.last_sequence != end {
            let text =
                format!("{dir} ends at sequence {end}, last_sequence says {}: leave it out", config.last_sequence);
            return Err(Error::new(Status::InvalidArgument, text));
        }
        return Ok(found);
    };
    // The host's position may belong to any epoch. The epoch that it is to write must not be below the log's.
    let at = Point { sequence: config.last_sequence, hash: UNKNOWN_HISTORY };
    let host = Follower { lineage: Some(Lineage { epoch: 0, ..wanted }), ..Follower::at(at) };
    let log = Follower { lineage: Some(found), ..Follower::at(Point::default()) };
    let verdict = match judge(&host, &Source { last: end, ..Source::new(Some(found), UNKNOWN_HISTORY) }) {
        Verdict::Same { .. } => judge(&log, &Source::new(Some(wanted), UNKNOWN_HISTORY)),
        refused => refused,
    };
    let text = match verdict {
        Verdict::Same { .. } => {
            if wanted.epoch > found.epoch {
                disk.begin_epoch(wanted.epoch).map_err(at_opening)?;
            }
            return Ok(wanted);
        }
        Verdict::OtherStream => {
            let (found, wanted) = (hex(&found.stream_id), hex(&wanted.stream_id));
            format!("{dir} holds stream {found}, this sender is to write stream {wanted}: give it another directory")
        }
        Verdict::Regressed => {
            format!("{dir} ends at sequence {end}, this sender is to go on after {}", config.last_sequence)
        }
        // No hashes are compared, and no epochs but these two.
        Verdict::OldEpoch | Verdict::EpochJump | Verdict::PastEpoch { .. } | Verdict::Forked => {
            format!("{dir} was written in epoch {}, this sender is to write epoch {}", found.epoch, wanted.epoch)
        }
    };
    Err(Error::new(verdict.status(), text))
}

/// Starts the threads that store the log, if it has a directory.
pub(super) fn spawn(log: &Arc<Log>, report: &Arc<SenderReport>) -> Result<Vec<Thread>> {
    let mut threads = Vec::new();
    if log.disk().is_none() {
        return Ok(threads);
    }
    let (storing, reporting) = (Arc::clone(log), Arc::clone(report));
    threads.push(threads::spawn("repl-log", move || {
        // The failure was reported, and every later append returns it.
        let _ = storing.store(&mut |news| event(&storing, &reporting, news.into_event()));
    })?);
    let (keeping, reporting) = (Arc::clone(log), Arc::clone(report));
    let mut spawned =
        threads::spawn("repl-log-keep", move || keeping.keep(&mut |news| report_upkeep(&keeping, &reporting, news)));
    if let (true, Ok(_)) = (log.syncs_ahead(), &spawned) {
        threads.extend(spawned);
        let syncing = Arc::clone(log);
        spawned = threads::spawn("repl-log-sync", move || syncing.sync_ahead());
    }
    match spawned {
        Ok(thread) => threads.push(thread),
        Err(error) => {
            end(log, threads);
            return Err(error);
        }
    }
    Ok(threads)
}

/// Ends those threads when nothing has been appended.
pub(super) fn end(log: &Log, threads: Vec<Thread>) {
    log.close();
    threads.into_iter().for_each(threads::join);
}

/// Updates and saves the slots while the sender runs.
pub(super) async fn keep_slots(slots: Arc<Slots>, log: Arc<Log>, life: Arc<Life>, report: Arc<SenderReport>) {
    // Not at once: the thread that does it has only just started.
    let mut tick = runtime::interval_at(clock::instant() + slots::ROUND, slots::ROUND);
    let mut stage = life.subscribe();
    let mut stall = Stall::new(Operation::StoreSlots);
    loop {
        let is_due = tokio::select! {
            biased;
            _ = tick.tick() => true,
            () = slots.awaited() => false,
            _ = stage.wait_for(|stage| *stage >= Stage::Closing) => return,
        };
        let (slots, log, reporting) = (Arc::clone(&slots), Arc::clone(&log), Arc::clone(&report));
        let saved = runtime::spawn_blocking(move || {
            let disk = log.disk()?;
            if is_due {
                reporting.events(slots.update());
            }
            let saved = slots.save();
            // If the log has lost its directory, the storing thread reports that.
            let ended = saved.is_err() && disk.check_identity().is_err() && !disk.is_usable();
            (!ended).then_some(saved)
        });
        let saved = match saved.await {
            Some(Some(saved)) => saved,
            Some(None) => return,
            None => continue,
        };
        // Every failure is retried: entries are stored without the slots.
        let news = match saved {
            Ok(()) => stall.end(),
            Err(error) => stall.begin(&error),
        };
        news.into_iter().for_each(|news| report.event(news.into_event()));
    }
}

/// Reports that a torn tail was cut off.
pub(super) fn report_cut(log: &Log, report: &SenderReport, cut: &Cut) {
    let text = format!(
        "the log ended torn after a crash: {} bytes after entry {} were cut off {} at offset {}: {}",
        cut.bytes,
        cut.after_sequence,
        cut.path.display(),
        cut.offset,
        cut.reason
    );
    let detail = json!({ "path": cut.path.to_string_lossy(), "offset": cut.offset, "bytes": cut.bytes });
    event(log, report, Event { detail, ..Event::new(EventKind::WalRecovered, Status::Ok, text) });
}

fn report_upkeep(log: &Log, report: &SenderReport, news: UpkeepNews) {
    match news {
        UpkeepNews::Room => {}
        UpkeepNews::Trimmed { segments, last_sequence } => {
            let text = format!("entries up to {last_sequence} left the log on disk, as retention wants it");
            let detail = json!({ "segments": segments });
            event(log, report, Event { detail, ..Event::new(EventKind::WalTrimmed, Status::Ok, text) });
        }
        UpkeepNews::Disk(news) => event(log, report, news.into_event()),
    }
}

/// Reports an event of the log to the host.
fn event(log: &Log, report: &SenderReport, event: Event) {
    report.event(Event { sequence: log.last_sequence(), ..event });
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::super::Sender;
    use super::*;
    use crate::host::Silent;

    const OURS: Lineage = Lineage { stream_id: [7; 16], epoch: 5 };

    /// P7: a log on disk goes on with its stream, up to its end, and in no lower epoch.
    #[test]
    fn p7_a_found_log_goes_on_with_its_own_history_only() {
        let dir = tempfile::tempdir().unwrap();
        let open = |lineage, last_sequence| {
            let storage = Some(StorageConfig::new(dir.path()));
            let config = SenderConfig { lineage: Some(lineage), last_sequence, storage, ..SenderConfig::default() };
            Sender::new(config, Box::new(Silent)).map(|sender| sender.lineage())
        };
        let refused = |lineage, last_sequence, status, text: &str| {
            let error = open(lineage, last_sequence).unwrap_err();
            assert_eq!(error.status, status, "{error}");
            assert!(error.message.contains(text), "{error}");
        };
        let (other, older) = (Lineage { stream_id: [8; 16], ..OURS }, Lineage { epoch: 4, ..OURS });
        let newer = Lineage { epoch: u64::MAX, ..OURS };
        assert_eq!(open(OURS, 5), Ok(OURS));
        refused(other, 5, Status::Diverged, "give it another directory");
        refused(other, 6, Status::Diverged, "give it another directory");
        refused(OURS, 6, Status::Regressed, "ends at sequence 5, this sender is to go on after 6");
        refused(older, 6, Status::Regressed, "ends at sequence 5");
        refused(older, 5, Status::Diverged, "was written in epoch 5, this sender is to write epoch 4");
        assert_eq!((open(OURS, 3), open(newer, 5)), (Ok(OURS), Ok(newer)));
        refused(OURS, 5, Status::Diverged, "this sender is to write epoch 5");
    }
}
