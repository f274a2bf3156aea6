//! Connections about which the host decides. Each waits until any thread of the host's answers, or its time is over.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::acks::Work;
use super::authorizer::AccessRequest;
use crate::engine::access::rights::Rights;
use crate::error::{Error, Result, Status};
use crate::host::Mailbox;
use crate::sync::Mutex;

/// What the host answers.
#[derive(Clone, Debug)]
pub(super) struct HostAnswer {
    /// None: it is refused.
    pub(super) rights: Rights,
    /// Why it is refused, for the host's own log.
    pub(super) reason: String,
}

/// The connections that wait for an answer.
pub(super) struct Authorizations {
    mailbox: Arc<Mailbox<Work>>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    answers: HashMap<u64, oneshot::Sender<HostAnswer>>,
}

impl Authorizations {
    pub(super) fn new(mailbox: Arc<Mailbox<Work>>) -> Self {
        Self { mailbox, waiting: Mutex::default() }
    }

    /// Asks the host, on its callback thread, and waits for the answer. `None`: there will be none.
    pub(super) async fn ask(&self, request: AccessRequest) -> Option<HostAnswer> {
        let (answer, answered) = oneshot::channel();
        let ticket = {
            let mut waiting = self.waiting.lock();
            waiting.last += 1;
            let ticket = waiting.last;
            waiting.answers.insert(ticket, answer);
            ticket
        };
        let _open = Open { of: self, ticket };
        self.mailbox.lock().work.requests.push_back(AccessRequest { ticket, ..request });
        self.mailbox.notify();
        answered.await.ok()
    }

    /// Whether that connection still waits.
    pub(super) fn is_waiting(&self, ticket: u64) -> bool {
        self.waiting.lock().answers.contains_key(&ticket)
    }

    /// How many connections wait.
    pub(super) fn count(&self) -> usize {
        self.waiting.lock().answers.len()
    }

    /// Passes the answer on to the connection.
    pub(super) fn answer(&self, ticket: u64, answer: HostAnswer) -> Result<()> {
        let waiting = self.waiting.lock().answers.remove(&ticket);
        let gone = || {
            let text =
                format!("no connection waits with ticket {ticket}: it was answered, it left, or its time is over");
            Error::new(Status::NotFound, text)
        };
        waiting.and_then(|waiting| waiting.send(answer).ok()).ok_or_else(gone)
    }
}

/// A connection that waits, until it does no more.
struct Open<'a> {
    of: &'a Authorizations,
    ticket: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.of.waiting.lock().answers.remove(&self.ticket);
    }
}
