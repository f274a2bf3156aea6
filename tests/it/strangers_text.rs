//! Text of peers and of old files: what it may contain, and what of it reaches events, logs and statistics.

use replication::error::Status;
use replication::host::{Event, EventKind};
use replication::log::disk::slots::{SlotFile, SlotRecord, SlotState};
use replication::protocol::frame::{TYPE_ENTRY, TYPE_SYNC};
use replication::protocol::handshake::SyncAck;
use replication::protocol::message;
use replication::receiver::config::{ProtocolChoice, ReceiverConfig};
use replication::sender::config::{SenderConfig, StorageConfig};
use replication::text::is_control;

use crate::common::wire::*;
use crate::common::{is_hidden, receiver, receiver_config, sender, start, stat, until};

/// Ends a line, moves a cursor, reverses a line, ends a C string.
const HOSTILE: &str = "a\nEV kind=22 status=IO\r\u{1b}]0;owned\u{7}\u{9b}31m\u{7f}\u{85}\u{2028}\u{202e}gnp\u{2066}\0z";

const BAD_IDS: [&str; 10] = [
    "nul\0tail",
    "line\nfeed",
    "\u{1b}[2J",
    "del\u{7f}",
    "csi\u{9b}31m",
    "nel\u{85}",
    "\u{202e}gnp.exe",
    "\u{2066}isolate",
    "line\u{2028}separator",
    HOSTILE,
];

/// Characters that nobody sees are no control characters, and an id may have them; a text does not.
const INVISIBLE: &str = "ab\u{200d}c\u{ad}\u{200b}\u{feff}";

fn assert_safe(event: &Event) {
    for text in [&event.message, &event.address] {
        assert!(!text.chars().any(is_hidden), "{text:?}");
        assert!(text.chars().count() < 400, "{text:?}");
    }
    assert!(!event.reader_id.chars().any(is_control), "{:?}", event.reader_id);
}

#[test]
fn p8_ids_with_control_characters_are_refused_in_each_form_of_the_handshake() {
    let (sender, address, events) = sender(SenderConfig::default());
    for (count, id) in (0..).step_by(3).zip(BAD_IDS) {
        let mut coordinator = Vec::new();
        message::encode_sync(&mut coordinator, &sync_v1(id, 0), true).unwrap();
        assert_eq!(coordinator[4], TYPE_ENTRY);
        for sync in [sync_frame(&sync_v1(id, 0)), sync_frame(&sync_v2(id, 0)), coordinator] {
            let mut peer = Peer::connect(&address);
            peer.send(&sync);
            assert_eq!(peer.end(), "INVALID_MSG", "{id:?}");
        }
        until("the reports", || events.count(EventKind::ProtocolError) == count + 3);
        let refused = sender.accept_reader(std::os::unix::net::UnixStream::pair().unwrap().0.into(), id, 0, None);
        let refused = refused.unwrap_err();
        assert_eq!(refused.status, Status::InvalidArgument);
        assert!(refused.message.contains("control character U+"), "{refused}");
        let config = ReceiverConfig { reader_id: id.into(), ..receiver_config("r", &address) };
        let refused = start(config, crate::common::Applied::default(), &crate::common::Events::default());
        assert_eq!(refused.err().map(|error| error.status), Some(Status::InvalidArgument));
    }
    assert_eq!(sender.reader_count(), 0);
    assert_eq!(events.count(EventKind::Connected), 0);
    for event in events.all() {
        assert_safe(&event);
        assert!(event.message.contains("control character U+"), "{event:?}");
    }
    let mut peer = Peer::connect(&address);
    assert!(peer.shake(&sync_v2("読者 \"1\" \\ é", 0)).can_resume);
}

#[test]
fn p8_what_a_reader_says_is_escaped_and_capped() {
    let (_sender, address, events) = sender(SenderConfig::default());
    let long = HOSTILE.repeat(200);
    for (count, sync) in [sync_v1("one", 0), sync_v2("two", 0)].iter().enumerate() {
        let mut peer = Peer::connect(&address);
        assert!(peer.shake(sync).can_resume);
        peer.send(&error_frame(HOSTILE, &long));
        until("the end", || events.count(EventKind::Disconnected) == count + 1);
    }
    // Neither JSON nor frames that fail carry anything through.
    for bad in [
        format!("{{\"reader_id\":{{\"{HOSTILE}\":1}}}}"),
        format!("{{\"last_known_seq\":\"{}\"}}", "\u{9b}é".repeat(999)),
    ] {
        let mut peer = Peer::connect(&address);
        peer.send(&frame(TYPE_SYNC, bad.as_bytes()));
        assert_eq!(peer.end(), "INVALID_MSG");
    }
    until("the reports", || events.count(EventKind::ProtocolError) >= 2);
    let all = events.all();
    all.iter().for_each(assert_safe_or_long);
    assert!(all.iter().any(|event| event.message.contains("\\nEV kind=22")), "{all:?}");
}

/// Two capped texts in one: a code and a message.
fn assert_safe_or_long(event: &Event) {
    assert!(!event.message.chars().any(is_hidden), "{event:?}");
    assert!(event.message.chars().count() < 1_600, "{event:?}");
}

#[test]
fn p8_what_a_writer_says_is_escaped_and_capped() {
    for refuses in [true, false] {
        let door = Door::open();
        let (reader, _, events) = receiver(receiver_config("reader", &door.address));
        let (mut peer, _) = door.accept_sync();
        let long = HOSTILE.repeat(200);
        peer.send(&match refuses {
            true => sync_ack_frame(&SyncAck { error: format!("{HOSTILE}: {long}"), ..SyncAck::default() }),
            false => error_frame(HOSTILE, &long),
        });
        let kind = if refuses { EventKind::Refused } else { EventKind::ProtocolError };
        let event = events.wait(kind);
        assert_eq!(event.status, Status::InvalidMsg);
        assert_safe_or_long(&event);
        until("the statistics", || !stat(reader.stats_json(), "last_error").is_null());
        assert!(!reader.stats_json().unwrap().chars().any(is_hidden));
    }
}

#[test]
fn p8_statistics_and_log_lines_escape_what_json_allows() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Some(StorageConfig::new(dir.path()));
    let (sender, address, events) = sender(SenderConfig { storage, ..SenderConfig::default() });
    let protocol = ProtocolChoice::V1;
    let (_reader, _, _) = receiver(ReceiverConfig { protocol, ..receiver_config(INVISIBLE, &address) });
    let connected = events.wait(EventKind::Connected);
    assert_safe(&connected);
    until("the reader", || sender.reader_count() == 1);
    let (stats, slots) = (sender.stats_json().unwrap(), sender.slots_json().unwrap());
    assert!(!stats.chars().chain(slots.chars()).any(is_hidden), "{stats}\n{slots}");
    assert_eq!(stat(Ok(stats), "readers")[0]["reader_id"], INVISIBLE);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&slots).unwrap()[0]["reader_id"], INVISIBLE);
}

/// The id of an event is that of the statistics, and of the calls that take one.
#[test]
fn an_event_has_the_id_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Some(StorageConfig::new(dir.path()));
    let (sender, address, events) = sender(SenderConfig { storage, ..SenderConfig::default() });
    let (reader, _, heard) = receiver(receiver_config(INVISIBLE, &address));
    let connected = events.wait(EventKind::Connected);
    assert_eq!(connected.reader_id, INVISIBLE);
    assert_eq!(heard.wait(EventKind::Connected).reader_id, INVISIBLE);
    sender.remove_reader(&connected.reader_id).unwrap();
    let removed = events.wait_status(EventKind::Disconnected, Status::Removed);
    assert_eq!(removed.reader_id, INVISIBLE);
    reader.stop().unwrap();
    until("it is gone", || sender.reader_count() == 0);
    sender.drop_slot(&removed.reader_id).unwrap();
}

#[test]
fn p5_a_slot_whose_id_no_reader_may_have_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let config = || SenderConfig { storage: Some(StorageConfig::new(dir.path())), ..SenderConfig::default() };
    {
        let (first, _, _) = sender(config());
        first.replicate(0, b"entry").unwrap();
        first.stop().unwrap();
    }
    let (file, mut slots) = SlotFile::load(dir.path()).unwrap();
    let record = SlotRecord { position: 0, sequence: 0, hash: 0, updated_us: u64::MAX / 2, state: SlotState::Held };
    slots.insert("pin\0ned\n".into(), record);
    slots.insert("good".into(), record);
    file.store(&slots).unwrap();

    let (second, _, events) = sender(config());
    let gone = events.wait(EventKind::SlotExpired);
    assert_safe(&gone);
    assert!(gone.message.contains("\"pin\\u{0}ned\\n\""), "{gone:?}");
    second.stop().unwrap();
    drop(second);
    let (_, left) = SlotFile::load(dir.path()).unwrap();
    assert!(left.keys().eq(["good"]), "{left:?}");
}
