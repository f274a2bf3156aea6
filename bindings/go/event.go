package replication

import (
	"encoding/json"
	"strconv"
)

// String returns the kind's name, such as "CUT_OFF".
func (k EventKind) String() string {
	if name, known := eventNames[k]; known {
		return name
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
