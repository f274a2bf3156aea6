//! What a reader opens a connection with, and what it is answered.

use std::time::Duration;

use super::admit::Refusal;
use crate::engine::secrets::{HandshakeKey, ProofRole};
use crate::error::{Error, Result, Status};
use crate::protocol::entry::UNKNOWN_HISTORY;
use crate::protocol::frame::{TYPE_ENTRY, TYPE_SYNC};
use crate::protocol::handshake::{Answer, Sync, SyncAck};
use crate::protocol::lineage::Lineage;
use crate::protocol::{STREAM_VERSION, check_reader_id, message};

/// A reader's first message.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) sync: Sync,
    /// It came in the coordinator's form, and is answered in that.
    pub(crate) coordinator: bool,
    /// What authenticates the answer, after a proof of a secret.
    session: Option<HandshakeKey>,
}

impl Opening {
    /// The opening in a connection's first frame.
    pub(crate) fn read(kind: u8, payload: &[u8]) -> Result<Self> {
        let invalid = |text: String| Error::new(Status::InvalidMsg, text);
        // The coordinator's Sync has the type that is an Entry's later on.
        let coordinator = match kind {
            TYPE_SYNC => false,
            TYPE_ENTRY => true,
            _ => return Err(invalid(format!("the first frame has type {kind:#04x}, not Sync"))),
        };
        let sync = message::decode_sync(payload).map_err(|e| invalid(format!("bad Sync: {e}")))?;
        check_reader_id(&sync.reader_id).map_err(|why| invalid(format!("the reader id {why}")))?;
        Ok(Self::new(sync, coordinator))
    }

    /// The opening of a reader whose Sync the host has read. It speaks v1.
    pub(crate) fn known(reader_id: String, last_known_sequence: u64) -> Self {
        Self::new(Sync { reader_id, last_known_sequence, offer: None }, false)
    }

    fn new(mut sync: Sync, coordinator: bool) -> Self {
        // Version 0 does not exist: whoever offers it is served as if it had offered nothing.
        sync.offer = sync.offer.filter(|offer| offer.version >= STREAM_VERSION);
        Self { sync, coordinator, session: None }
    }

    /// The same, where the answer is to be authenticated.
    pub(crate) fn under(self, session: HandshakeKey) -> Self {
        Self { session: Some(session), ..self }
    }

    /// Whether the reader and the writer speak v2.
    pub(crate) fn is_v2(&self) -> bool {
        self.sync.offer.is_some()
    }

    /// How often the reader wants to hear something.
    pub(crate) fn heartbeat(&self) -> Duration {
        self.sync.offer.as_ref().map_or(Duration::MAX, |offer| Duration::from_millis(offer.heartbeat_ms))
    }

    /// The frame that tells a peer which may not follow that it may not, and no more; with `writer`, also where that is.
    pub(crate) fn deny(&self, writer: Option<&Writer>) -> Result<Vec<u8>> {
        let refusal = Refusal::from(denial());
        match writer {
            Some(writer) => self.reply(writer).refuse(&refusal),
            None => self.with(SyncAck::default()).refuse(&refusal),
        }
    }

    /// Begins the answer.
    pub(crate) fn reply(&self, writer: &Writer) -> Reply {
        let answer = self.sync.offer.as_ref().map(|offer| {
            let floor = writer.min_heartbeat.as_millis() as u64;
            Answer {
                version: STREAM_VERSION,
                stream_id: writer.lineage.stream_id,
                epoch: writer.lineage.epoch,
                first_sequence: writer.first_sequence,
                heartbeat_ms: writer.heartbeat.as_millis() as u64,
                min_heartbeat_ms: Some(floor).filter(|floor| offer.heartbeat_ms < *floor),
                ..Answer::default()
            }
        });
        let ack = SyncAck { current_sequence: writer.current_sequence, answer, ..SyncAck::default() };
        self.with(ack)
    }

    fn with(&self, ack: SyncAck) -> Reply {
        Reply { ack, coordinator: self.coordinator, session: self.session.clone() }
    }
}

/// What an answer says of the writer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer {
    pub(crate) lineage: Lineage,
    pub(crate) current_sequence: u64,
    pub(crate) first_sequence: u64,
    pub(crate) heartbeat: Duration,
    pub(crate) min_heartbeat: Duration,
}

/// An answer that is still to say whether the reader may follow.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    ack: SyncAck,
    coordinator: bool,
    session: Option<HandshakeKey>,
}

impl Reply {
    /// The frame that tells the reader to follow. `hash`: see
    /// [`Admitted::disclosed_hash`](super::admit::Admitted::disclosed_hash).
    pub(crate) fn accept(&self, hash: u64) -> Result<Vec<u8>> {
        let mut ack = SyncAck { can_resume: true, ..self.ack.clone() };
        if let Some(answer) = &mut ack.answer {
            answer.hash = hash;
        }
        self.encode(&ack)
    }

    /// The frame that tells the reader why it may not follow.
    pub(crate) fn refuse(&self, refusal: &Refusal) -> Result<Vec<u8>> {
        let error = &refusal.error;
        let mut ack = SyncAck { can_resume: false, error: error.to_string(), ..self.ack.clone() };
        if let Some(answer) = &mut ack.answer {
            error.status.name().clone_into(&mut answer.code);
            answer.hash = UNKNOWN_HISTORY;
            (answer.common_sequence, answer.differing_sequence) = (refusal.common_sequence, refusal.differing_sequence);
        }
        self.encode(&ack)
    }

    fn encode(&self, ack: &SyncAck) -> Result<Vec<u8>> {
        let mut frame = Vec::new();
        message::encode_sync_ack(&mut frame, ack, self.coordinator)
            .map_err(|error| Error::new(error.status(), error.to_string()))?;
        match &self.session {
            Some(session) => session.authenticated(ProofRole::Writer, &frame),
            None => Ok(frame),
        }
    }
}

/// What a peer is told that may not follow, whatever the reason.
pub(crate) fn denial() -> Error {
    Error::new(Status::NotAuthorized, "the writer does not authorize this connection; its host was told why")
}

/// The frame that says why a connection ends; empty where its text fits no frame.
pub(crate) fn error_frame(error: &Error) -> Vec<u8> {
    let mut frame = Vec::new();
    if message::encode_error(&mut frame, error.status.name(), &error.message).is_err() {
        frame.clear();
    }
    frame
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use crate::protocol::handshake::Offer;
    use crate::protocol::{MAX_HANDSHAKE_BYTES, frame};

    const WRITER: Writer = Writer {
        lineage: Lineage { stream_id: [7; 16], epoch: 5 },
        current_sequence: 9,
        first_sequence: 3,
        heartbeat: Duration::from_millis(1000),
        min_heartbeat: Duration::from_millis(100),
    };

    fn offering(version: u32, heartbeat_ms: u64) -> Opening {
        let offer = Offer { version, heartbeat_ms, ..Offer::default() };
        Opening::new(Sync { reader_id: "r".into(), last_known_sequence: 4, offer: Some(offer) }, false)
    }

    fn decoded(frame: Result<Vec<u8>>) -> SyncAck {
        let frame = frame.unwrap();
        message::decode_sync_ack(frame::decode(&frame, MAX_HANDSHAKE_BYTES).unwrap().payload).unwrap()
    }

    #[test]
    fn a_reader_that_offers_v2_is_answered_in_v2() {
        let ack = decoded(offering(1, 50).reply(&WRITER).accept(77));
        assert!(ack.can_resume && ack.error.is_empty() && ack.current_sequence == 9);
        let answer = ack.answer.unwrap();
        assert_eq!((answer.stream_id, answer.epoch, answer.first_sequence, answer.hash), ([7; 16], 5, 3, 77));
        assert_eq!((answer.heartbeat_ms, answer.min_heartbeat_ms), (1000, Some(100)));
        let slow = decoded(offering(1, 100).reply(&WRITER).accept(77));
        assert_eq!(slow.answer.unwrap().min_heartbeat_ms, None);
        for opening in [offering(0, 50), Opening::known("r".into(), 4)] {
            assert!(!opening.is_v2() && opening.heartbeat() == Duration::MAX);
            assert_eq!(decoded(opening.reply(&WRITER).accept(77)).answer, None);
        }
    }

    /// P8: whoever may not follow learns neither the stream nor where it is, unless it may monitor that.
    #[test]
    fn p8_a_stranger_is_told_nothing() {
        for opening in [offering(1, 50), Opening::known("r".into(), 4)] {
            let told = decoded(opening.deny(None));
            assert!(!told.can_resume && told.error.starts_with("NOT_AUTHORIZED: "));
            assert_eq!((told.current_sequence, told.answer), (0, None));
            let monitored = decoded(opening.deny(Some(&WRITER)));
            assert_eq!((monitored.current_sequence, monitored.error), (9, told.error));
            assert_eq!(monitored.answer.map(|answer| answer.epoch), opening.is_v2().then_some(5));
        }
    }

    /// P6: a refusal tells no hash.
    #[test]
    fn p6_a_refusal_says_why_and_where_and_proves_nothing() {
        let error = Error::new(Status::Diverged, "another history");
        let refusal = Refusal { error, common_sequence: Some(4), differing_sequence: Some(6) };
        let ack = decoded(offering(1, 50).reply(&WRITER).refuse(&refusal));
        assert!(!ack.can_resume && ack.error.starts_with("DIVERGED") && ack.error.contains("another history"));
        let answer = ack.answer.unwrap();
        assert_eq!((&*answer.code, answer.hash), ("DIVERGED", UNKNOWN_HISTORY));
        assert_eq!((answer.common_sequence, answer.differing_sequence), (Some(4), Some(6)));
    }

    #[test]
    fn p8_a_connection_opens_with_a_sync_of_a_reader_that_may_be() {
        let mut frame = Vec::new();
        let sync = Sync { reader_id: "r".into(), last_known_sequence: 4, offer: None };
        message::encode_sync(&mut frame, &sync, false).unwrap();
        let payload = frame::decode(&frame, MAX_HANDSHAKE_BYTES).unwrap().payload;
        for (kind, coordinator) in [(TYPE_SYNC, false), (TYPE_ENTRY, true)] {
            let opening = Opening::read(kind, payload).unwrap();
            assert_eq!((opening.sync.last_known_sequence, opening.coordinator), (4, coordinator));
        }
        for (kind, payload) in [(0x7f, payload), (TYPE_SYNC, &b"{}"[..]), (TYPE_SYNC, b"nothing")] {
            assert_eq!(Opening::read(kind, payload).unwrap_err().status, Status::InvalidMsg, "{kind} {payload:?}");
        }
    }
}
