//! Accepts connections from listening sockets, and takes the host's descriptors.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::core::{Core, MAX_HANDSHAKES};
use super::handshake;
use super::tasks::Task;
use crate::engine::writer::life::Stage;
use crate::error::{Error, Result, Status};
use crate::host::{Event, EventKind};
use crate::runtime;
use crate::transport::{Accepted, Listener, Stream};

/// The pauses after an accept that failed for lack of descriptors or memory. They double.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_millis(5)..=Duration::from_secs(1);

/// How often a Unix socket's file is checked.
const LOOK: Duration = Duration::from_secs(1);

/// Accepts connections until the sender ends.
pub(super) async fn listen(core: Arc<Core>, listener: Listener) {
    let mut stage = core.life.subscribe();
    let mut pause = *PAUSES.start();
    let mut is_reachable = true;
    loop {
        let look = async { if listener.has_file() { sleep(LOOK).await } else { std::future::pending().await } };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = look => {
                look_after(&core, &listener, &mut is_reachable);
                continue;
            }
            _ = stage.wait_for(|stage| *stage >= Stage::Draining) => break,
        };
        match accepted {
            Ok(accepted) => {
                pause = *PAUSES.start();
                match accepted {
                    Accepted::Stream(stream) => {
                        take(&core, stream).unwrap_or_else(|error| core.report.refused_unheard(error))
                    }
                    Accepted::Stranger(error) => core.report.refused_unheard(error),
                    Accepted::Scarce(limit) => core.report.descriptors_low(listener.address(), limit),
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
                core.mailbox.event(event);
                tokio::select! {
                    () = sleep(pause) => {}
                    _ = stage.wait_for(|stage| *stage >= Stage::Draining) => break,
                }
                pause = (pause * 2).min(*PAUSES.end());
            }
        }
    }
    look_after(&core, &listener, &mut is_reachable);
}

/// Reports that a listener's path no longer leads to its socket, once until it does again.
fn look_after(core: &Core, listener: &Listener, was_reachable: &mut bool) {
    let is_reachable = listener.is_reachable();
    if std::mem::replace(was_reachable, is_reachable) && !is_reachable {
        let text = format!(
            "{} leads elsewhere: the socket's file was removed or replaced, and no new reader comes here by it; listen \
             anew to make another",
            listener.address()
        );
        let mut event = Event::new(EventKind::ListenIncomplete, Status::Io, text);
        event.address = listener.address().to_owned();
        core.mailbox.event(event);
    }
}

/// Serves a connection, unless too many handshakes are under way.
pub(super) fn take(core: &Arc<Core>, stream: Stream) -> Result<()> {
    let permit = Arc::clone(&core.handshakes).try_acquire_owned().map_err(|_| {
        Error::new(
            Status::BufferFull,
            format!("{} is refused: {MAX_HANDSHAKES} handshakes are under way", stream.peer()),
        )
    })?;
    let stream = match &core.config.tls {
        Some(tls) => tls.accept(stream)?,
        None => stream,
    };
    spawn(core, handshake::serve(Arc::clone(core), stream, permit));
    Ok(())
}

/// Spawns a task that `stop` waits for.
pub(super) fn spawn(core: &Arc<Core>, serving: impl Future<Output = ()> + Send + 'static) {
    let task = Task::begin(&core.tasks);
    runtime::spawn(async move {
        serving.await;
        drop(task);
    });
}
