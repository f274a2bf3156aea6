//! # Sender: waiting for readers
//!
//! Waiting for readers: by sleeping, by a callback, and by asking later.

use std::ffi::{c_char, c_void};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::args::{ack_level, invalid, put_optional, text};
use super::callbacks::{AckedFn, Callback, FreeFn, acked};
use super::guard::{Guarded, HandleState, guard, is_null, make, release};
use super::sender::SenderHandle;
use crate::error::{Error, Result, Status};
pub use crate::protocol::control::AckLevel;
use crate::sender::config::MAX_TERMS;
use crate::sender::{Acked, Quorum};

/// Which readers must have acknowledged an entry. Created by replication_quorum_new(). It belongs to no sender, and any number
/// of threads may use it once it is complete.
pub struct QuorumHandle {
    gate: HandleState,
    terms: Mutex<Vec<(Option<String>, usize)>>,
}

impl Guarded for QuorumHandle {
    const NAME: &'static str = "quorum";
    fn gate(&self) -> &HandleState {
        &self.gate
    }
}

impl QuorumHandle {
    fn new() -> Result<Self> {
        Ok(Self { gate: HandleState::new()?, terms: Mutex::new(Vec::new()) })
    }

    fn add(&self, group: Option<&str>, readers: usize) -> Result<()> {
        if readers == 0 {
            return Err(invalid("readers is 0, at least 1 is needed"));
        }
        let mut terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        if terms.len() == MAX_TERMS {
            return Err(invalid(format!("the quorum has {MAX_TERMS} conditions already, which is the bound")));
        }
        terms.push((group.map(str::to_owned), readers));
        Ok(())
    }

    /// In terms of the groups of this sender.
    fn of(&self, sender: &SenderHandle) -> Result<Quorum> {
        let terms = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        let mut borrowed = [(None, 0); MAX_TERMS];
        for (place, (group, readers)) in borrowed.iter_mut().zip(&*terms) {
            *place = (group.as_deref(), *readers);
        }
        // There are at most as many: see `add`.
        sender.core.quorum(borrowed.get(..terms.len()).unwrap_or(&borrowed))
    }
}

/// The quorum behind `quorum` in terms of the groups of this sender.
///
/// # Safety
/// `quorum` is NULL or came from replication_quorum_new() and is not freed.
unsafe fn quorum_of(quorum: *const QuorumHandle, sender: &SenderHandle) -> Result<Quorum> {
    // SAFETY: the caller's promise.
    let quorum = unsafe { quorum.as_ref() }.ok_or_else(|| is_null(QuorumHandle::NAME))?;
    quorum.gate.check()?;
    quorum.of(sender)
}

fn any(readers: usize, sender: &SenderHandle) -> Result<Quorum> {
    sender.core.quorum(&[(None, readers)])
}

/// Creates a quorum without a condition, to be filled by replication_quorum_add().
///
/// Returns the quorum, to be freed with replication_quorum_free(); NULL without memory.
#[unsafe(no_mangle)]
pub extern "C" fn replication_quorum_new() -> *mut QuorumHandle {
    make(QuorumHandle::new)
}

/// Adds a condition. All conditions of a quorum must be met; one reader may count for several.
///
/// - `group`: a name from sender_config_add_group(), which is checked when a sender gets the quorum; NULL for any readers.
/// - `readers`: how many readers of the group must have acknowledged; at least 1.
///
/// Returns `OK`; `INVALID_ARGUMENT` for 0 readers, text that is not UTF-8, and a 65th condition.
///
/// # Safety
/// `quorum` came from replication_quorum_new() and is not freed; `group` is NULL or ends with a NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_quorum_add(
    quorum: *mut QuorumHandle,
    group: *const c_char,
    readers: usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(quorum, |quorum| {
            let group = if group.is_null() { None } else { Some(text(group, "group")?) };
            quorum.add(group, readers)
        })
    }
}

/// Frees a quorum. NULL is ignored. Waits that began with it continue.
///
/// # Safety
/// `quorum` is NULL or came from replication_quorum_new(), and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replication_quorum_free(quorum: *mut QuorumHandle) {
    // SAFETY: the caller's promise.
    unsafe { release(quorum, drop) };
}

/// An entry that is asked about.
struct Question {
    sequence: u64,
    level: u32,
    /// How long the answer may take, for the text.
    timeout_ms: Option<u64>,
}

/// Gives the count out, and says what is missing.
///
/// # Safety
/// `out_readers` is NULL or has room.
unsafe fn answer(
    sender: &SenderHandle,
    question: &Question,
    quorum: &Quorum,
    acked: Acked,
    out_readers: *mut usize,
) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { put_optional(out_readers, acked.readers) };
    let Question { sequence, level, timeout_ms } = question;
    if acked.status == Status::Ok {
        return Ok(());
    }
    let mut who = sender.core.lacking(*sequence, ack_level(*level)?, quorum);
    if who.is_empty() {
        // The last one came when the time was over.
        who = format!("only {}", acked.readers);
    }
    let when = timeout_ms.map_or("so far".into(), |ms| format!("within {ms} ms"));
    let closed = if acked.status == Status::Closed { "; the sender was stopped" } else { "" };
    Err(Error::new(acked.status, format!("{who} have acknowledged entry {sequence} {when}{closed}")))
}

/// # Safety
/// `sender` is NULL or came from sender_new() and is not freed; `out_readers` is NULL or has room.
unsafe fn wait(
    sender: *mut SenderHandle,
    question: &Question,
    name: &str,
    quorum: impl FnOnce(&SenderHandle) -> Result<Quorum>,
    out_readers: *mut usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let level = ack_level(question.level)?;
            sender.may_wait(name)?;
            let quorum = quorum(sender)?;
            let timeout = Duration::from_millis(question.timeout_ms.unwrap_or(0));
            let acked = sender.core.wait_acked_by(question.sequence, level, &quorum, timeout)?;
            answer(sender, question, &quorum, acked, out_readers)
        })
    }
}

/// Waits until readers have acknowledged an entry and all before it. Before it sleeps, the call may spin for up to 50
/// microseconds while that saves time.
///
/// A reader counts with what it acknowledged of the entries that this sender sent it, and with what it proved to have when it
/// connected, by the hash of its history. Its bare claims count for nothing. Readers that have left count, too.
///
/// - `level`: a replication_ack_level. v1 readers acknowledge entries as received only.
/// - `readers`: how many readers must have acknowledged.
/// - `timeout_ms`: 0 returns at once, `UINT64_MAX` waits for ever.
/// - `out_readers`: how many have; also set with TIMEOUT; may be NULL.
///
/// Returns `OK`; `TIMEOUT`, and readers may still have the entry, now or later; `INVALID_ARGUMENT` for a number that is no
/// level, a sequence that no entry has yet, and more readers than there can be; `WRONG_THREAD`; `INVALID_STATE` before
/// sender_start(); `CLOSED` when the sender is or gets stopped.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `out_readers` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_wait_acked(
    sender: *mut SenderHandle,
    sequence: u64,
    level: u32,
    readers: usize,
    timeout_ms: u64,
    out_readers: *mut usize,
) -> Status {
    let question = Question { sequence, level, timeout_ms: Some(timeout_ms) };
    // SAFETY: the caller's promise.
    unsafe { wait(sender, &question, "sender_wait_acked", |sender| any(readers, sender), out_readers) }
}

/// As sender_wait_acked(), for a quorum.
///
/// - `quorum`: has at least one condition; read during the call only.
/// - `out_readers`: how many readers have, of any group; may be NULL.
///
/// Returns what sender_wait_acked() returns; `INVALID_ARGUMENT` also for a quorum without a condition, a group that this
/// sender does not have, and more readers of a group than it can have. The text of `TIMEOUT` names the groups that lack
/// readers.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `quorum` is NULL or came from replication_quorum_new() and is not freed;
/// `out_readers` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_wait_acked_quorum(
    sender: *mut SenderHandle,
    sequence: u64,
    level: u32,
    quorum: *const QuorumHandle,
    timeout_ms: u64,
    out_readers: *mut usize,
) -> Status {
    let question = Question { sequence, level, timeout_ms: Some(timeout_ms) };
    // SAFETY: the caller's promise.
    unsafe { wait(sender, &question, "sender_wait_acked_quorum", |sender| quorum_of(quorum, sender), out_readers) }
}

/// # Safety
/// As for [`wait`].
unsafe fn look(
    sender: *const SenderHandle,
    question: &Question,
    quorum: impl FnOnce(&SenderHandle) -> Result<Quorum>,
    out_readers: *mut usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let level = ack_level(question.level)?;
            let quorum = quorum(sender)?;
            let acked = sender.core.acked(question.sequence, level, &quorum)?;
            answer(sender, question, &quorum, acked, out_readers)
        })
    }
}

/// Reports, without waiting, whether readers have acknowledged an entry: for example one whose wait timed out. It can be
/// called for any entry, any number of times, also after a restart that continues the log. Once it is OK for an entry, a
/// level and a number of readers, it stays so in this process.
///
/// A sequence identifies an entry within one history only. A promoted node answers for entries that it appended or inherited
/// with their history; where a bare sequence was set, no reader counts for that entry and those before. A host that may ask
/// after a promotion should store the token of the transaction beside its sequence
/// (sender_token()), and compare stream and epoch first.
///
/// - `sequence`, `level`, `readers`: as for sender_wait_acked().
/// - `out_readers`: how many have; also set with TIMEOUT and CLOSED; may be NULL.
///
/// Returns `OK` when enough readers have; `TIMEOUT` when not enough have so far; `CLOSED` when not enough had when the sender
/// was stopped; `INVALID_ARGUMENT` as sender_wait_acked() does. Readers count while they are connected and while they are
/// remembered: of those that left, twice sender_config_set_max_readers().
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `out_readers` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_acked(
    sender: *const SenderHandle,
    sequence: u64,
    level: u32,
    readers: usize,
    out_readers: *mut usize,
) -> Status {
    let question = Question { sequence, level, timeout_ms: None };
    // SAFETY: the caller's promise.
    unsafe { look(sender, &question, |sender| any(readers, sender), out_readers) }
}

/// As sender_acked(), for a quorum.
///
/// - `quorum`, `out_readers`: as for sender_wait_acked_quorum(); `out_readers` may be NULL.
///
/// Returns what sender_acked() returns; `INVALID_ARGUMENT` also as sender_wait_acked_quorum() does.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `quorum` is NULL or came from replication_quorum_new() and is not freed;
/// `out_readers` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_acked_quorum(
    sender: *const SenderHandle,
    sequence: u64,
    level: u32,
    quorum: *const QuorumHandle,
    out_readers: *mut usize,
) -> Status {
    let question = Question { sequence, level, timeout_ms: None };
    // SAFETY: the caller's promise.
    unsafe { look(sender, &question, |sender| quorum_of(quorum, sender), out_readers) }
}

/// The host's function and its data.
struct AckedCallback {
    callback: AckedFn,
    user_data: *mut c_void,
    user_data_free: FreeFn,
}

/// # Safety
/// `sender` is NULL or came from sender_new() and is not freed; `out_ticket` is NULL or has room.
unsafe fn order(
    sender: *mut SenderHandle,
    question: &Question,
    quorum: impl FnOnce(&SenderHandle) -> Result<Quorum>,
    listener: AckedCallback,
    out_ticket: *mut u64,
) -> Status {
    let AckedCallback { callback, user_data, user_data_free } = listener;
    let callback = Callback::<AckedFn>::unshared(callback, user_data, user_data_free);
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let callback = callback.ok_or_else(|| is_null("callback"))?;
            let level = ack_level(question.level)?;
            let quorum = quorum(sender)?;
            let timeout = Duration::from_millis(question.timeout_ms.unwrap_or(0));
            let call = acked(callback, sender.muted.clone())?;
            let ticket = sender.core.on_acked(question.sequence, level, quorum, timeout, call)?;
            put_optional(out_ticket, ticket);
            Ok(())
        })
    }
}

/// Calls a callback when readers have acknowledged an entry, and does not wait.
///
/// With `OK`, `callback` is called exactly once, on the sender's callback thread, perhaps before this function returns: with
/// `REPLICATION_STATUS_OK` when enough readers have the entry, `_TIMEOUT` when the time has passed, `_CLOSED` when the sender
/// is stopped before. If the sender is freed in one of its own callbacks, only `user_data_free` runs. `user_data_free` (may be
/// NULL) runs once in any case: after the call, or when this function fails.
///
/// - `sequence`, `level`, `readers`: as for sender_wait_acked().
/// - `timeout_ms`: 0 calls back at once, `UINT64_MAX` waits until the sender is stopped.
/// - `out_ticket`: a number for sender_ticket_status(), not 0, which the callback gets too; may be NULL.
///
/// Returns `OK`; `INVALID_ARGUMENT` as sender_wait_acked() does, and for a NULL callback; `BUFFER_FULL` when as many calls are
/// outstanding as sender_config_set_max_pending_acks() allows; `OUT_OF_MEMORY`; `INVALID_STATE` before sender_start();
/// `CLOSED` after sender_stop().
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `out_ticket` is NULL or has room. The functions may be called from other
/// threads with `user_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_on_acked(
    sender: *mut SenderHandle,
    sequence: u64,
    level: u32,
    readers: usize,
    timeout_ms: u64,
    callback: AckedFn,
    user_data: *mut c_void,
    user_data_free: FreeFn,
    out_ticket: *mut u64,
) -> Status {
    let question = Question { sequence, level, timeout_ms: Some(timeout_ms) };
    let listener = AckedCallback { callback, user_data, user_data_free };
    // SAFETY: the caller's promise.
    unsafe { order(sender, &question, |sender| any(readers, sender), listener, out_ticket) }
}

/// As sender_on_acked(), for a quorum.
///
/// - `quorum`: as for sender_wait_acked_quorum().
/// - `out_ticket`: as for sender_on_acked(); may be NULL.
///
/// Returns what sender_on_acked() returns; `INVALID_ARGUMENT` also as sender_wait_acked_quorum() does.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `quorum` is NULL or came from replication_quorum_new() and is not freed;
/// `out_ticket` is NULL or has room. The functions may be called from other threads with `user_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_on_acked_quorum(
    sender: *mut SenderHandle,
    sequence: u64,
    level: u32,
    quorum: *const QuorumHandle,
    timeout_ms: u64,
    callback: AckedFn,
    user_data: *mut c_void,
    user_data_free: FreeFn,
    out_ticket: *mut u64,
) -> Status {
    let question = Question { sequence, level, timeout_ms: Some(timeout_ms) };
    let listener = AckedCallback { callback, user_data, user_data_free };
    // SAFETY: the caller's promise.
    unsafe { order(sender, &question, |sender| quorum_of(quorum, sender), listener, out_ticket) }
}

/// Reports how a call of sender_on_acked() ended or stands, also after it ended with TIMEOUT. Once enough readers had the
/// entry, the answer stays OK. The last 65536 tickets whose callback was due are kept; sender_acked() has no such bound.
///
/// - `out_readers`: how many readers have the entry; also set with TIMEOUT and CLOSED; may be NULL.
///
/// Returns `OK` when enough readers have the entry; `TIMEOUT` when not enough have so far; `CLOSED` when not enough had when
/// the sender was stopped; `NOT_FOUND` for a number that is no ticket of this sender, or one that is no longer kept.
///
/// # Safety
/// `sender` came from sender_new() and is not freed; `out_readers` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sender_ticket_status(
    sender: *const SenderHandle,
    ticket: u64,
    out_readers: *mut usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        guard(sender, |sender| {
            let acked = sender.core.ticket(ticket)?;
            put_optional(out_readers, acked.readers);
            let readers = acked.readers;
            match acked.status {
                Status::Ok => Ok(()),
                Status::Closed => Err(Error::new(
                    Status::Closed,
                    format!(
                        "the sender was stopped when {readers} readers had acknowledged the entry of ticket {ticket}"
                    ),
                )),
                status => Err(Error::new(
                    status,
                    format!("not enough readers have acknowledged the entry of ticket {ticket} so far, only {readers}"),
                )),
            }
        })
    }
}
