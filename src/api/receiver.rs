use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::callbacks::CallbackGate;
use super::end::{end, parsed, wrong_thread};
use super::error::Result;
use super::secret::Secret;
use super::token::Token;
use crate::forks::Maker;
use crate::receiver;

/// The reader's end: follows one writer and passes its entries to a [`Handler`](crate::Handler). Created by
/// [`Receiver::builder`].
///
/// Any number of threads may use a receiver at once. Its handlers run one at a time on the receiver's own thread. In a
/// handler, the methods that would wait for that thread fail with [`WRONG_THREAD`](crate::Status::WrongThread):
/// [`stop`](Self::stop) and [`wait_sequence`](Self::wait_sequence).
///
/// Dropping a receiver stops it and waits for a running handler. A receiver may be dropped in one of its own handlers:
/// no further handler call begins, and another thread ends the receiver a little later. After a `fork`, the parent's
/// receivers fail with [`FORKED`](crate::Status::Forked) in the child, and dropping them does nothing there.
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

    /// Starts the receiver. It connects, and reconnects after a failure, in the background, and reports both as events.
    pub fn start(&self) -> Result<()> {
        Ok(self.core()?.start()?)
    }

    /// Returns whether the receiver is connected: a handshake has succeeded and the connection is still open.
    pub fn is_connected(&self) -> bool {
        self.core().is_ok_and(receiver::Receiver::is_connected)
    }

    /// Returns the sequence of the last applied entry, or 0 if none has been applied.
    pub fn last_sequence(&self) -> u64 {
        self.core.last_sequence()
    }

    /// Waits until an entry is applied, so that the reader sees what was written before. [`Duration::ZERO`] only
    /// checks; [`Duration::MAX`] waits forever.
    ///
    /// Fails with [`TIMEOUT`](crate::Status::Timeout); with [`APPLY_FAILED`](crate::Status::ApplyFailed) if the apply
    /// policy stopped before that entry; with [`LINEAGE_CHANGED`](crate::Status::LineageChanged) if another writer took
    /// over during the wait, since the sequence may be a different entry in its history; and with
    /// [`CLOSED`](crate::Status::Closed).
    pub fn wait_sequence(&self, sequence: u64, timeout: Duration) -> Result<()> {
        let core = self.core()?;
        if core.on_callback_thread() {
            return Err(wrong_thread("wait_sequence"));
        }
        Ok(core.wait_sequence(sequence, timeout)?)
    }

    /// Waits until the entry of a token is applied, so that a host that got the token at the writer sees the writes up to
    /// it here. Otherwise like [`wait_sequence`](Self::wait_sequence).
    ///
    /// Fails with [`LOST`](crate::Status::Lost) if the entry is not in the history that was applied: it belongs to
    /// another stream, or another entry took its place at a fail-over; and with
    /// [`LINEAGE_CHANGED`](crate::Status::LineageChanged) if this is unknown, because a receiver without a log on disk
    /// had already passed the entry and follows another epoch than the token's.
    pub fn wait_token(&self, token: &Token, timeout: Duration) -> Result<()> {
        let core = self.core()?;
        if core.on_callback_thread() {
            return Err(wrong_thread("wait_token"));
        }
        Ok(core.wait_token(token.core(), timeout)?)
    }

    /// Returns the token of the position after the last applied entry. In a handler, use
    /// [`Entry::token`](crate::Entry::token) instead. Fails with [`NOT_FOUND`](crate::Status::NotFound) while the
    /// stream is unknown: before the first connection, and as long as the writer speaks only v1.
    pub fn token(&self) -> Result<Token> {
        Ok(Token::of(self.core()?.token()?))
    }

    /// Pauses the handler until [`resume`](Self::resume). No handler runs once this method has returned, unless it was
    /// called from a handler. The connection stays open until the buffer is full and the writer's timeouts expire.
    /// Pausing a paused receiver has no effect.
    pub fn pause(&self) -> Result<()> {
        Ok(self.core()?.pause()?)
    }

    /// Resumes after [`pause`](Self::pause). Has no effect if the receiver is not paused.
    pub fn resume(&self) -> Result<()> {
        Ok(self.core()?.resume()?)
    }

    /// Changes an option while the receiver lives, by its name in `docs/options.md`, which says which ones may change: time
    /// limits, bounds, and what stays on disk. A connection keeps the values with which it began.
    ///
    /// Fails with [`NOT_FOUND`](crate::Status::NotFound) for any other name, [`INVALID_ARGUMENT`](crate::Status::InvalidArgument) for a
    /// value that the builder would refuse, and [`INVALID_STATE`](crate::Status::InvalidState) for an option of the log on disk
    /// without one.
    pub fn set_option(&self, name: &str, value: u64) -> Result<()> {
        Ok(self.core()?.set_option(name, value)?)
    }

    /// Reads the files of the authorities, the certificate and the key again, for the next connection. After an error the old
    /// ones stay in force. Fails with [`INVALID_STATE`](crate::Status::InvalidState) without TLS.
    pub fn reload_tls(&self) -> Result<()> {
        Ok(self.core()?.reload_tls()?)
    }

    /// Replaces the secret for the next connection; `None` for none.
    pub fn set_secret(&self, secret: Option<&Secret>) -> Result<()> {
        Ok(self.core()?.set_secret(secret.map(|secret| secret.core().clone()))?)
    }

    /// Returns the value of an option that [`set_option`](Self::set_option) takes.
    pub fn option(&self, name: &str) -> Result<u64> {
        Ok(self.core()?.option(name)?)
    }

    /// Returns the statistics as a JSON object. Future versions only add keys. `docs/statistics.md` describes each key.
    pub fn stats(&self) -> Result<Value> {
        parsed(&self.core()?.stats_json()?)
    }

    /// Closes the connection and waits for the threads, and so for a running handler. Entries applied before are
    /// acknowledged if the acknowledgement can still be sent. No handler runs once this method has returned. Stopping
    /// twice is allowed.
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
