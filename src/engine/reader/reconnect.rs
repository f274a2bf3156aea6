//! What a reader does after a connection, or the attempt at one: which node it dials next, and what its host hears.

use std::time::Duration;

use super::end::ConnectionEnd;
use crate::error::{Error, Status};
use crate::host::{Event, EventKind};

/// A connection, or the attempt at one, that ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) end: &'a ConnectionEnd,
    /// The node that was dialled.
    pub(crate) peer: &'a str,
    /// Whether both ends had accepted.
    pub(crate) connected: bool,
    /// Whether its Sync followed a plan.
    pub(crate) planned: bool,
}

impl Attempt<'_> {
    /// Whether the next attempt is at the same node, and not at the next one of the list. `stable`: the connection lived long
    /// enough that the node counts as good.
    pub(crate) fn stays(&self, stable: bool) -> bool {
        match self.end.error.status {
            // Only there the next Sync asks to go on after the gap; a node that refuses that too is left.
            _ if self.end.passes_gap() && !self.planned => true,
            Status::Ok | Status::Replaced | Status::Removed => true,
            Status::NotWriter => false,
            _ => stable,
        }
    }

    /// What the host hears of the end. `reader_id` and `received` are this reader's; for `pause` nothing is dialled now.
    pub(crate) fn report(&self, reader_id: &str, received: u64, pause: Option<Duration>) -> EndReport {
        let ConnectionEnd { error, refused, .. } = self.end;
        let (status, peer) = (error.status, self.peer);
        let mut message = error.message.clone();
        if status == Status::Replaced {
            let pause = pause.unwrap_or_default().as_millis();
            message += &format!(
                "; another receiver seems to have the reader_id \"{reader_id}\" too: give each its own. The next attempt is \
                 in {pause} ms"
            );
        }
        let text = if message.contains(peer) { message.clone() } else { format!("{peer}: {message}") };
        let error = (status != Status::Ok).then(|| Error::new(status, text.clone()));
        if self.end.passes_gap() {
            // The host decided about that beforehand, and hears of it when a writer lets this reader go on after the gap.
            return EndReport { error, events: Vec::new() };
        }
        let mut events = Vec::new();
        let mut event = |kind, sequence, text: String| {
            events.push(Event { sequence, ..Event::new(kind, status, text) });
        };
        let refused = *refused || !self.connected && status == Status::NotAuthorized;
        let kind = kind_of(status, refused);
        if let Some(kind) = kind {
            let is_about_the_next = kind == EventKind::Gap || status == Status::MessageTooLarge;
            event(kind, if is_about_the_next { received.saturating_add(1) } else { received }, text);
        }
        if self.connected || kind.is_none() {
            let verb = if self.connected { "disconnected from" } else { "not connected to" };
            event(EventKind::Disconnected, received, format!("{verb} {peer}: {message}"));
        }
        EndReport { error, events }
    }
}

/// What the host hears of an end.
#[derive(Debug)]
pub(crate) struct EndReport {
    /// What went wrong, if anything did. It is counted, and kept as the last error.
    pub(crate) error: Option<Error>,
    pub(crate) events: Vec<Event>,
}

/// The event of an end with this status besides that of the connection.
fn kind_of(status: Status, refused: bool) -> Option<EventKind> {
    match status {
        Status::SequenceGap | Status::WalRotated => Some(EventKind::Gap),
        Status::Regressed => Some(EventKind::Regressed),
        Status::Diverged => Some(EventKind::Diverged),
        _ if refused => Some(EventKind::Refused),
        Status::InvalidMsg | Status::MessageTooLarge | Status::MessageTooSmall | Status::Truncated => {
            Some(EventKind::ProtocolError)
        }
        _ => None,
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use crate::engine::reader::plan::{Goal, Plan};

    fn end(status: Status, refused: bool) -> ConnectionEnd {
        ConnectionEnd { error: Error::new(status, "why"), refused, plan: None }
    }

    fn passing_gap() -> ConnectionEnd {
        let plan = Plan { peer: "a:1".into(), lineage: None, goal: Goal::PassGap(9) };
        ConnectionEnd { plan: Some(plan), ..end(Status::WalRotated, true) }
    }

    #[test]
    fn a_node_is_left_unless_it_was_good_or_has_something_to_offer() {
        let stays =
            |end: &ConnectionEnd, planned, stable| Attempt { end, peer: "a:1", connected: true, planned }.stays(stable);
        for (status, stable, expected) in [
            (Status::Io, false, false),
            (Status::Io, true, true),
            (Status::NotWriter, true, false),
            (Status::Replaced, false, true),
            (Status::Removed, false, true),
            (Status::Ok, false, true),
            (Status::WalRotated, false, false),
        ] {
            assert_eq!(stays(&end(status, false), false, stable), expected, "{status:?}");
        }
        assert!(stays(&passing_gap(), false, false) && !stays(&passing_gap(), true, false));
    }

    /// P2: each end is reported once as what it is, and once as that of a connection, if there was one.
    #[test]
    fn p2_the_host_hears_what_ended_a_connection() {
        let heard = |end: &ConnectionEnd, connected| {
            let attempt = Attempt { end, peer: "a:1", connected, planned: false };
            let report = attempt.report("r", 7, Some(Duration::from_millis(50)));
            let events = report.events.iter().map(|event| (event.kind, event.sequence)).collect::<Vec<_>>();
            (report.error.map(|error| error.to_string()), events)
        };
        use EventKind::{Disconnected, Diverged, Gap, ProtocolError, Refused};
        let lost = (Disconnected, 7);
        for (status, refused, connected, expected) in [
            (Status::Io, false, true, &[lost][..]),
            (Status::Io, false, false, &[lost]),
            (Status::Ok, false, true, &[lost]),
            (Status::NotWriter, true, false, &[(Refused, 7)]),
            (Status::WalRotated, true, false, &[(Gap, 8)]),
            (Status::SequenceGap, false, true, &[(Gap, 8), lost]),
            (Status::Diverged, true, false, &[(Diverged, 7)]),
            (Status::InvalidMsg, false, true, &[(ProtocolError, 7), lost]),
            (Status::MessageTooLarge, false, true, &[(ProtocolError, 8), lost]),
        ] {
            let (error, events) = heard(&end(status, refused), connected);
            assert_eq!(events, expected, "{status:?}");
            assert_eq!(error.is_some(), status != Status::Ok);
        }
        assert_eq!(heard(&passing_gap(), false).1, []);
        let (error, _) = heard(&end(Status::Replaced, false), true);
        let error = error.unwrap();
        assert!(error.contains("a:1: why") && error.contains("\"r\"") && error.contains("in 50 ms"), "{error}");
    }
}
