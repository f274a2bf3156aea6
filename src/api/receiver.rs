use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::callbacks::CallbackGate;
use super::end::{end, parsed, wrong_thread};
use super::error::Result;
use super::token::Token;
use crate::forks::Maker;
use crate::receiver;

/// A reader's end: follows one writer and hands its entries to a [`Handler`](crate::Handler). Made by
/// [`Receiver::builder`].
///
/// Any number of threads may use it at once. Handlers run one at a time on a thread of its own; from there, whatever would
/// wait for that very thread fails with [`WRONG_THREAD`](crate::Status::WrongThread): [`stop`](Self::stop) and
/// [`wait_sequence`](Self::wait_sequence).
///
/// Dropping it stops it, and waits for a running handler. It may be dropped in a handler of its own: then no other handler
/// begins, and another thread ends it a little later. After a `fork` the parent's receivers fail with
/// [`FORKED`](crate::Status::Forked) in the child, and dropping them does nothing there.
pub struct Receiver {
    core: Arc<receiver::Receiver>,
    gate: CallbackGate,
    maker: Maker,
}

const _: () = {
    const fn shared_between_threads<T: Send + Sync>() {}
    shared_between_threads::<Receiver>();
};

impl Receiver {
    pub(super) fn of(core: receiver::Receiver, gate: CallbackGate, maker: Maker) -> Self {
        Self { core: Arc::new(core), gate, maker }
    }

    fn core(&self) -> Result<&receiver::Receiver> {
        self.maker.check()?;
        Ok(&self.core)
    }

    /// Starts it. Connecting, and connecting again after a failure, happens in the background and is told in events.
    pub fn start(&self) -> Result<()> {
        Ok(self.core()?.start()?)
    }

    /// Whether a handshake has succeeded and its connection lives.
    pub fn is_connected(&self) -> bool {
        self.core().is_ok_and(receiver::Receiver::is_connected)
    }

    /// The last sequence that was applied, 0 before the first one.
    pub fn last_sequence(&self) -> u64 {
        self.core.last_sequence()
    }

    /// Waits until an entry is applied, so that a reader sees what was written before. [`Duration::ZERO`] only looks,
    /// [`Duration::MAX`] waits for ever.
    ///
    /// Fails with [`TIMEOUT`](crate::Status::Timeout); with [`APPLY_FAILED`](crate::Status::ApplyFailed) when the apply policy
    /// has stopped before that entry; with [`LINEAGE_CHANGED`](crate::Status::LineageChanged) when another writer took over
    /// meanwhile, in whose history the sequence may be another entry; and with [`CLOSED`](crate::Status::Closed).
    pub fn wait_sequence(&self, sequence: u64, timeout: Duration) -> Result<()> {
        let core = self.core()?;
        if core.on_callback_thread() {
            return Err(wrong_thread("wait_sequence"));
        }
        Ok(core.wait_sequence(sequence, timeout)?)
    }

    /// The position after what was applied last. A handler asks [`Entry::token`](crate::Entry::token). Fails with
    /// [`NOT_FOUND`](crate::Status::NotFound) while the stream is unknown: before the first connection, and as long as the
    /// writer speaks v1 only.
    pub fn token(&self) -> Result<Token> {
        Ok(Token::of(self.core()?.token()?))
    }

    /// Hands no entry to the handler until [`resume`](Self::resume). When it returns no handler runs, unless it was called
    /// from one. The connection stays up until the buffer is full and the writer's patience ends. Pausing twice is allowed.
    pub fn pause(&self) -> Result<()> {
        Ok(self.core()?.pause()?)
    }

    /// Goes on after [`pause`](Self::pause). Allowed also when it is not paused.
    pub fn resume(&self) -> Result<()> {
        Ok(self.core()?.resume()?)
    }

    /// The statistics, a JSON object to which keys are only ever added. `docs/embedding.md` describes each.
    pub fn stats(&self) -> Result<Value> {
        parsed(&self.core()?.stats_json()?)
    }

    /// Ends the connection and waits for the threads, and so for a running handler. What was applied before is acknowledged
    /// if that can still be sent. When it returns no handler runs. Stopping twice is allowed.
    pub fn stop(&self) -> Result<()> {
        Ok(self.core()?.stop()?)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        end(&self.core, &self.gate, self.maker, self.core.on_callback_thread(), |core| drop(core.stop()));
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("last_sequence", &self.last_sequence()).finish_non_exhaustive()
    }
}
