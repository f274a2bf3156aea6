//! Accepts connections from listening sockets, and takes the host's descriptors.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::access::Via;
use super::doorway::Doorway;
use super::followers::Followers;
use super::handshake::{self, ReaderService};
use super::report::SenderReport;
use super::tasks::{Task, Tasks};
use crate::clock;
use crate::engine::writer::life::Stage;
use crate::error::{Result, Status};
use crate::host::{Event, EventKind};
use crate::runtime::{self, sleep};
use crate::transport::{Accepted, Listener, Stream};

/// The pauses after an accept that failed for lack of descriptors or memory. They double.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_millis(5)..=Duration::from_secs(1);

/// How often a Unix socket's file is checked.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Takes connections, each of which a task serves.
#[derive(Clone)]
pub(super) struct Acceptor {
    pub(super) service: Arc<ReaderService>,
    doorway: Arc<Doorway>,
    pub(super) tasks: Arc<Tasks>,
}

impl Acceptor {
    pub(super) fn new(service: ReaderService) -> Self {
        let doorway = Doorway::new(&service.config.get());
        Self { service: Arc::new(service), doorway, tasks: Arc::default() }
    }

    /// How many connections are in their handshake.
    pub(super) fn handshakes(&self) -> usize {
        self.doorway.count()
    }

    /// Accepts connections from a listener until the sender ends.
    pub(super) fn listen(&self, listener: Listener) {
        self.spawn(listen(self.clone(), listener));
    }

    /// Serves a connection, unless too many handshakes have begun just now.
    pub(super) fn take(&self, stream: Stream, via: Via) -> Result<()> {
        let config = self.service.config.get();
        let (place, out) = self.doorway.enter(&stream, &config)?;
        out.into_iter().for_each(|out| self.service.followers.report.refused_early(out));
        let stream = match &config.tls {
            Some(tls) => tls.accept(stream)?,
            None => stream,
        };
        self.spawn(handshake::serve(Arc::clone(&self.service), stream, via, place));
        Ok(())
    }

    /// Serves a connection whose Sync the host has read.
    pub(super) fn take_known(&self, stream: Stream, via: Via, reader_id: String, last_known_sequence: u64) {
        self.spawn(handshake::serve_known(Arc::clone(&self.service), stream, via, reader_id, last_known_sequence));
    }

    /// Spawns a task that `stop` waits for.
    fn spawn(&self, serving: impl Future<Output = ()> + Send + 'static) {
        let task = Task::begin(&self.tasks);
        runtime::spawn(async move {
            serving.await;
            drop(task);
        });
    }
}

async fn listen(acceptor: Acceptor, listener: Listener) {
    let Followers { life, report, .. } = &*acceptor.service.followers;
    let mut stage = life.subscribe();
    let mut pause = *PAUSES.start();
    let mut is_reachable = true;
    let mut checks = runtime::interval_at(clock::instant() + CHECK_EVERY, CHECK_EVERY);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = checks.tick(), if listener.has_file() => {
                check_reachable(report, &listener, &mut is_reachable);
                continue;
            }
            _ = stage.wait_for(|stage| *stage >= Stage::Draining) => break,
        };
        match accepted {
            Ok(accepted) => {
                pause = *PAUSES.start();
                match accepted {
                    Accepted::Stream(stream) => {
                        acceptor.take(stream, Via::Listener).unwrap_or_else(|error| report.refused_early(error))
                    }
                    Accepted::Stranger(error) => report.refused_early(error),
                    Accepted::Scarce(limit) => report.descriptors_low(listener.address(), limit),
                    Accepted::Gone => {}
                }
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                let text = format!("cannot accept on {}: {error}; trying again", listener.address());
                let is_out = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
                let kind = if is_out { EventKind::DescriptorsLow } else { EventKind::Refused };
                let mut event = Event::new(kind, Status::Io, text);
                event.address = listener.address().to_owned();
                report.event(event);
                tokio::select! {
                    () = sleep(pause) => {}
                    _ = stage.wait_for(|stage| *stage >= Stage::Draining) => break,
                }
                pause = (pause * 2).min(*PAUSES.end());
            }
        }
    }
    check_reachable(report, &listener, &mut is_reachable);
}

/// Reports that a listener's path no longer leads to its socket, once until it does again.
fn check_reachable(report: &SenderReport, listener: &Listener, was_reachable: &mut bool) {
    let is_reachable = listener.is_reachable();
    if std::mem::replace(was_reachable, is_reachable) && !is_reachable {
        let text = format!(
            "{} leads elsewhere: the socket's file was removed or replaced, and no new reader comes here by it; listen \
             anew to make another",
            listener.address()
        );
        let mut event = Event::new(EventKind::ListenIncomplete, Status::Io, text);
        event.address = listener.address().to_owned();
        report.event(event);
    }
}
