//! Where connections come from: listening sockets, and descriptors of the host's.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, MAX_HANDSHAKES, Phase, Task};
use super::session;
use crate::error::{Error, Result, Status};
use crate::host::{Event, EventKind};
use crate::transport::{Listener, Stream};

/// Pauses after an accept that failed for want of descriptors or memory, doubling.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_millis(5)..=Duration::from_secs(1);

/// Accepts connections until the sender ends.
pub(super) async fn listen(core: Arc<Core>, listener: Listener) {
    let mut phase = core.phase.subscribe();
    let mut pause = *PAUSES.start();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase != Phase::Running) => return,
        };
        match accepted {
            Ok(Ok(stream)) => {
                pause = *PAUSES.start();
                if let Err(error) = take(&core, stream) {
                    core.refused_unheard(error);
                }
            }
            // The peer was gone before its connection was taken.
            Ok(Err(_)) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                let text = format!("cannot accept on {}: {error}; trying again", listener.address());
                let mut event = Event::new(EventKind::Refused, Status::Io, text);
                event.address = listener.address().to_owned();
                core.mailbox.event(event);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(*PAUSES.end());
            }
        }
    }
}

/// Serves a connection whose handshake is still to come, if another handshake may begin now.
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
    spawn(core, session::serve(Arc::clone(core), stream, permit));
    Ok(())
}

/// Runs a task that `stop` waits for.
pub(super) fn spawn(core: &Arc<Core>, serving: impl Future<Output = ()> + Send + 'static) {
    let task = Task::begin(core);
    tokio::spawn(async move {
        serving.await;
        drop(task);
    });
}
