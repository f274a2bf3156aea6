//! A reader's connection after the handshake: sends entries and receives acknowledgements.

use std::sync::Arc;

use tokio::sync::watch;

use super::admission::medium;
use super::followers::Followers;
use super::intake::{self, send_heartbeat};
use super::outgoing::SendOutcome;
use super::reader::Reader;
use crate::clock;
use crate::engine::writer::admit::Medium;
use crate::engine::writer::life::Stage;
use crate::engine::writer::peer::{self, Backlog, Peer, PeerLimits};
use crate::error::{Error, Status};
use crate::runtime::{self, interval};
use crate::transport::lost;

/// A reader's connection after the handshake.
pub(super) struct ReaderSession<'a> {
    followers: &'a Followers,
    reader: &'a Arc<Reader>,
    peer: Peer,
}

impl<'a> ReaderSession<'a> {
    pub(super) fn new(followers: &'a Followers, reader: &'a Arc<Reader>, limits: PeerLimits) -> Self {
        Self { followers, reader, peer: Peer::new(limits, clock::instant()) }
    }

    /// Sends entries until the connection ends, and returns the reason.
    pub(super) async fn run(&mut self) -> Error {
        let (followers, reader) = (self.followers, self.reader);
        let mut stage = followers.life.subscribe();
        let mut tick = interval(self.peer.tick_every());
        // The SyncAck goes out first, even if another connection has taken this reader's id meanwhile.
        let _ = reader.send(&followers.acks, true);
        loop {
            match intake::take(followers, reader) {
                Ok(true) => {}
                // A reader that sends without pause must not starve the others.
                Ok(false) => tokio::task::yield_now().await,
                Err(error) => return self.conclude(error),
            }
            if let Some(error) = reader.closing() {
                return error;
            }
            let woken = followers.readers.woken();
            tokio::pin!(woken);
            woken.as_mut().enable();
            let outcome = reader.send(&followers.acks, true);
            if let Err(error) = intake::decide(followers, reader) {
                return error;
            }
            match outcome {
                SendOutcome::More => {
                    self.peer.moves();
                    if *stage.borrow() >= Stage::Closing {
                        return stopped();
                    }
                    tokio::task::yield_now().await;
                }
                SendOutcome::AtEnd => {
                    self.peer.caught_up();
                    if *stage.borrow() >= Stage::Draining && self.is_drained() {
                        return self.drain(&mut stage).await;
                    }
                    if !followers.log.sleep_at(reader.position()) {
                        continue;
                    }
                    // Rare events first, so that neither entries nor a reader that sends without pause starve them.
                    tokio::select! {
                        biased;
                        _ = tick.tick() => if let Err(error) = self.check_time() { return error },
                        _ = stage.changed() => if *stage.borrow() >= Stage::Closing { return stopped() },
                        () = reader.closed.notified() => {}
                        () = &mut woken => {}
                        () = reader.wake.notified() => {}
                        readable = reader.stream.readable() => if let Err(error) = readable {
                            return lost(Status::WriteFailed, &error);
                        },
                    }
                }
                SendOutcome::Blocked => {
                    self.peer.is_blocked((reader.bytes_sent(), reader.stream.flushed()), clock::instant());
                    tokio::select! {
                        biased;
                        _ = tick.tick() => if let Err(error) = self.check_time() { return error },
                        _ = stage.changed() => if *stage.borrow() >= Stage::Closing { return stopped() },
                        () = reader.closed.notified() => {}
                        () = reader.cut.cut() => {}
                        writable = reader.stream.writable() => if let Err(error) = writable {
                            return lost(Status::WriteFailed, &error);
                        },
                        readable = reader.stream.readable() => if let Err(error) = readable {
                            return lost(Status::WriteFailed, &error);
                        },
                    }
                }
                SendOutcome::NotLoaded(load) => {
                    self.peer.moves();
                    tokio::select! {
                        biased;
                        loaded = runtime::spawn_blocking(move || load.run()) => match loaded {
                            Some(Ok(loaded)) => reader.supply(loaded),
                            Some(Err(error)) => return error,
                            None => return Error::new(Status::Panic, "internal error while the log was read"),
                        },
                        _ = stage.wait_for(|stage| *stage >= Stage::Closing) => return stopped(),
                    }
                    if let Err(error) = self.check_time() {
                        return error;
                    }
                }
                SendOutcome::CutOff => return self.cut_off(),
                SendOutcome::Failed(error) => return lost(Status::WriteFailed, &error),
                SendOutcome::LogFailed(error) => return error,
            }
        }
    }

    /// The reason why the connection ends after reading failed with `error`. An acknowledgement that still waits is
    /// judged first.
    fn conclude(&self, error: Error) -> Error {
        let (followers, reader) = (self.followers, self.reader);
        if !peer::just_left(&error) || !reader.is_undecided() {
            return error;
        }
        let _ = reader.send(&followers.acks, true);
        intake::decide(followers, reader).err().unwrap_or(error)
    }

    /// Sends a heartbeat or reports a lagging reader if that is due. Fails if the connection is silent or stuck.
    fn check_time(&mut self) -> Result<(), Error> {
        let (followers, reader) = (self.followers, self.reader);
        let (heard, sent) = (reader.heard(), reader.bytes_sent());
        let owes = reader.sent_whole() > reader.positions().received;
        let due = self.peer.look(heard, sent, owes, self.backlog(), clock::instant())?;
        if due.heartbeat {
            send_heartbeat(followers, reader);
        }
        if due.lagging {
            let sent = reader.sent_whole();
            followers.report.lagging(reader.peer(), sent, followers.log.last_sequence().saturating_sub(sent));
        }
        Ok(())
    }

    /// The bytes and entries that the reader still has to receive.
    fn backlog(&self) -> Backlog {
        let (log, reader) = (&self.followers.log, self.reader);
        let position = reader.position();
        if position >= log.end() {
            return Backlog { bytes: 0, entries: 0 };
        }
        if medium(log) == Medium::Disk {
            return Backlog { bytes: log.end() - position, entries: 0 };
        }
        // Chunks count in full, because the unused bytes at their ends take memory too.
        let bytes = log.bytes_from(position);
        let entries = log.last_sequence().saturating_sub(reader.sent_whole());
        Backlog { bytes, entries }
    }

    fn cut_off(&self) -> Error {
        let (followers, reader) = (self.followers, self.reader);
        let at = reader.sent_whole();
        let (oldest, current) = (followers.log.oldest_known(), followers.log.last_sequence());
        let error = peer::cut_off(medium(&followers.log), at, oldest);
        followers.report.cut_off(reader.peer(), at, (oldest, current), &error);
        error
    }

    fn is_drained(&self) -> bool {
        peer::is_drained(self.reader.v2, self.reader.stands_at(), self.followers.log.last_sequence())
    }

    /// Shuts the sending side down after the last entry and waits until the reader closes, or the time to drain is
    /// over.
    async fn drain(&mut self, stage: &mut watch::Receiver<Stage>) -> Error {
        self.reader.stream.finish();
        loop {
            let taken = intake::take(self.followers, self.reader);
            // A waiting host thread may have received the end first.
            let decided = taken.and_then(|all| intake::decide(self.followers, self.reader).map(|()| all));
            match decided.and_then(|all| self.reader.closing().map_or(Ok(all), Err)) {
                Ok(true) => {}
                Ok(false) => tokio::task::yield_now().await,
                // The reader has everything, so it does not matter how it left.
                Err(error) if peer::just_left(&error) => return stopped(),
                Err(error) => return error,
            }
            tokio::select! {
                biased;
                () = self.reader.closed.notified() => {}
                changed = stage.wait_for(|stage| *stage >= Stage::Closing) => {
                    drop(changed);
                    return stopped();
                }
                readable = self.reader.stream.readable() => if readable.is_err() { return stopped() },
            }
        }
    }
}

fn stopped() -> Error {
    Error::new(Status::Ok, "the sender was stopped")
}
