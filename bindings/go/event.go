package replication

import (
	"encoding/json"
	"strconv"
)

// An EventKind is what kind of thing happened. Ignore kinds that you do not know.
type EventKind int32

// The kinds of events. docs/embedding.md tells, for each, when it comes and what its fields say.
const (
	// EventConnected: at a sender a reader attached, at a receiver the handshake is done.
	EventConnected EventKind = 1
	// EventDisconnected: a connection ended; the status says why.
	EventDisconnected EventKind = 2
	// EventRefused: a peer was refused, or the writer refused us.
	EventRefused EventKind = 3
	// EventGap: entries are missing; Sequence is the first one.
	EventGap EventKind = 4
	// EventRegressed: the writer of our stream is behind what we hold.
	EventRegressed EventKind = 5
	// EventDiverged: the writer belongs to another lineage than the one we follow.
	EventDiverged EventKind = 6
	// EventLagging: a reader has used more than three quarters of the window.
	EventLagging EventKind = 7
	// EventCutOff: a reader fell out of the window.
	EventCutOff EventKind = 8
	// EventApplyFailed: the handler failed on the entry Sequence.
	EventApplyFailed EventKind = 9
	// EventEntrySkipped: the skip policy gave up on the entry Sequence.
	EventEntrySkipped EventKind = 10
	// EventHolePassed: the continue policy went on past a gap that begins at Sequence.
	EventHolePassed EventKind = 11
	// EventStopped: the stop policy ended applying at the entry Sequence.
	EventStopped EventKind = 12
	// EventProtocolError: the peer broke the protocol; its connection was closed.
	EventProtocolError EventKind = 13
	// EventEntryRefused: new entries were refused because the buffer is full.
	EventEntryRefused EventKind = 14
	// EventEventsLost: the host was too slow for its own events.
	EventEventsLost EventKind = 15
	// EventGateClosed: too few readers are near enough; entries are refused or wait.
	EventGateClosed EventKind = 16
	// EventGateOpened: enough readers are near enough again.
	EventGateOpened EventKind = 17
	// EventSlotLost: a reader's slot held back more of the log than it may.
	EventSlotLost EventKind = 18
	// EventSlotExpired: the slot of a reader that did not come back was given up.
	EventSlotExpired EventKind = 19
	// EventLogStalled: the log's disk refuses something for now, as the text says.
	EventLogStalled EventKind = 20
	// EventLogResumed: the log's disk does it again.
	EventLogResumed EventKind = 21
	// EventLogFailed: the log's disk failed.
	EventLogFailed EventKind = 22
	// EventLogRecovered: the log on disk ended torn when it was opened.
	EventLogRecovered EventKind = 23
	// EventLogTrimmed: the oldest entries left the log on disk.
	EventLogTrimmed EventKind = 24
	// EventSlotRefused: the slot table is full, so a reader follows without a slot.
	EventSlotRefused EventKind = 25
	// EventReaderRewound: a reader came back at an earlier position than it had acknowledged.
	EventReaderRewound EventKind = 26
	// EventDescriptorsLow: a connection was closed because the process is about to run out of file descriptors (rate-limited).
	EventDescriptorsLow EventKind = 27
	// EventListenIncomplete: a listener cannot be reached at every address that it stands for.
	EventListenIncomplete EventKind = 28
	// EventUnprotected: files that other users may change or read are used nevertheless.
	EventUnprotected EventKind = 29
)

var eventNames = [...]string{
	EventConnected: "CONNECTED", EventDisconnected: "DISCONNECTED", EventRefused: "REFUSED", EventGap: "GAP",
	EventRegressed: "REGRESSED", EventDiverged: "DIVERGED", EventLagging: "LAGGING", EventCutOff: "CUT_OFF",
	EventApplyFailed: "APPLY_FAILED", EventEntrySkipped: "ENTRY_SKIPPED", EventHolePassed: "HOLE_PASSED",
	EventStopped: "STOPPED", EventProtocolError: "PROTOCOL_ERROR", EventEntryRefused: "ENTRY_REFUSED",
	EventEventsLost: "EVENTS_LOST", EventGateClosed: "GATE_CLOSED", EventGateOpened: "GATE_OPENED",
	EventSlotLost: "SLOT_LOST", EventSlotExpired: "SLOT_EXPIRED", EventLogStalled: "LOG_STALLED",
	EventLogResumed: "LOG_RESUMED", EventLogFailed: "LOG_FAILED", EventLogRecovered: "LOG_RECOVERED",
	EventLogTrimmed: "LOG_TRIMMED", EventSlotRefused: "SLOT_REFUSED", EventReaderRewound: "READER_REWOUND",
	EventDescriptorsLow: "DESCRIPTORS_LOW", EventListenIncomplete: "LISTEN_INCOMPLETE", EventUnprotected: "UNPROTECTED",
}

// String returns the kind's name, such as "CUT_OFF".
func (k EventKind) String() string {
	if k > 0 && int(k) < len(eventNames) {
		return eventNames[k]
	}
	return "EVENT_" + strconv.Itoa(int(k))
}

// An Event is something that happened at a sender or receiver.
type Event struct {
	Kind EventKind
	// Status says why; StatusOK when nothing failed.
	Status Status
	// Sequence is the entry concerned; 0 when there is none.
	Sequence uint64
	// ReaderID is the reader concerned, "" when unknown.
	ReaderID string
	// Address is the peer's, "" when unknown.
	Address string
	// Message is a sentence for people.
	Message string
	// Detail is more for programs, a JSON object.
	Detail json.RawMessage
	// Cause is the host's own error behind the event: what a handler returned or panicked with, or why a connection
	// could not be dialled. nil when there is none.
	Cause error
}

// Err returns the event as an error, nil when nothing failed.
func (e *Event) Err() error {
	if e.Status == StatusOK {
		return nil
	}
	return &Error{Status: e.Status, Op: e.Kind.String(), Message: e.Message, Err: e.Cause}
}
