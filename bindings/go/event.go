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

// An Event is an event of a sender or receiver.
type Event struct {
	Kind EventKind
	// Status is the reason; StatusOK if nothing failed.
	Status Status
	// Sequence is the entry concerned; 0 if none.
	Sequence uint64
	// ReaderID is the reader concerned; "" if unknown.
	ReaderID string
	// Address is the peer's address; "" if unknown.
	Address string
	// Identity is who the peer is, as far as the connection proves it: words such as "dns:reader-1.db",
	// "sha256:FINGERPRINT" or "uid:1000", or "none"; "" if no connection is concerned.
	Identity string
	// Message is a sentence for people.
	Message string
	// Detail is a JSON object for programs.
	Detail json.RawMessage
	// Cause is the host's own error behind the event: what a handler returned or panicked with, or why a connection could
	// not be dialled. It is nil if there is none.
	Cause error
}

// Err returns the event as an error, or nil if nothing failed.
func (e *Event) Err() error {
	if e.Status == StatusOK {
		return nil
	}
	return &Error{Status: e.Status, Op: e.Kind.String(), Message: e.Message, Err: e.Cause}
}
