package replication

/*
#include "library.h"
*/
import "C"

import (
	"runtime"
	"strings"
	"unsafe"
)

// A Status is the library's stable code of a failure, and as an error the sentinel for it: errors.Is(err, ErrTimeout)
// asks whether err comes from that status.
type Status int32

// StatusOK is the status where nothing failed, as in an Event. It is never an error that is returned.
const StatusOK Status = 0

// What can go wrong. Numbers are the library's and are never used again for something else; treat one that is not here
// as a failure.
const (
	// ErrInvalidArgument: a value that is not allowed, a number out of range, an id that is too long.
	ErrInvalidArgument Status = 1
	// ErrInvalidState: the call does not fit the state: before Start, or started twice.
	ErrInvalidState Status = 2
	// ErrClosed: it was stopped or closed.
	ErrClosed Status = 3
	// ErrWrongThread: a call that waits, made in a handler of the very sender or receiver.
	ErrWrongThread Status = 4
	// ErrForked: it was made by the process that this one was forked from.
	ErrForked Status = 5
	// ErrPanic: the library failed inside.
	ErrPanic Status = 6
	// ErrTimeout: the given time passed.
	ErrTimeout Status = 7
	// ErrIO: the operating system refused; the text says what.
	ErrIO Status = 8
	// ErrBadAddress: an address that does not parse or does not resolve.
	ErrBadAddress Status = 9
	// ErrAddressInUse: the address is taken by another socket.
	ErrAddressInUse Status = 10
	// ErrBadDescriptor: a descriptor that is closed or is no stream socket.
	ErrBadDescriptor Status = 11
	// ErrNotFound: no such reader, row, key or stream.
	ErrNotFound Status = 12
	// ErrWrongType: the value is of another type, or does not fit the type asked for.
	ErrWrongType Status = 13
	// ErrBufferTooSmall: a buffer is too small.
	ErrBufferTooSmall Status = 14
	// ErrTruncated: a message that is not whole.
	ErrTruncated Status = 15
	// ErrMessageTooSmall: a message of length 0.
	ErrMessageTooSmall Status = 16
	// ErrMessageTooLarge: a message or payload over its limit.
	ErrMessageTooLarge Status = 17
	// ErrOutOfMemory: no memory.
	ErrOutOfMemory Status = 18
	// ErrDecodeFailed: a payload that is not an array of maps in msgpack.
	ErrDecodeFailed Status = 19
	// ErrDamaged: files on disk that are not what this library wrote there, or that a newer one wrote.
	ErrDamaged Status = 20
	// ErrLocked: the log's directory is in use.
	ErrLocked Status = 21
	// ErrDiskFull: no room on the disk. It goes on when there is room.
	ErrDiskFull Status = 22
	// ErrGated: too few readers are near enough for another entry.
	ErrGated Status = 23
	// ErrStalled: the log's disk refuses for another reason than room, which may pass.
	ErrStalled Status = 24
	// ErrSequenceGap: the reader is too far behind to resume.
	ErrSequenceGap Status = 100
	// ErrWALRotated: the log was rotated; a full copy is needed.
	ErrWALRotated Status = 101
	// ErrInvalidMsg: a message that breaks the protocol.
	ErrInvalidMsg Status = 102
	// ErrNotWriter: this node is not the writer.
	ErrNotWriter Status = 103
	// ErrBufferFull: the buffer is full.
	ErrBufferFull Status = 104
	// ErrWriteFailed: writing to the peer failed.
	ErrWriteFailed Status = 105
	// ErrApplyFailed: applying an entry failed.
	ErrApplyFailed Status = 106
	// ErrDiverged: the writer belongs to another lineage.
	ErrDiverged Status = 120
	// ErrRegressed: the writer of the same stream is behind this reader.
	ErrRegressed Status = 121
	// ErrReplaced: another connection took this reader's id.
	ErrReplaced Status = 122
	// ErrPeerTimeout: the peer was silent, or took no bytes, for too long.
	ErrPeerTimeout Status = 123
	// ErrRemoved: the host removed this reader.
	ErrRemoved Status = 124
	// ErrLineageChanged: the writer changed while something of the one before was waited for.
	ErrLineageChanged Status = 125
)

var statusNames = map[Status]string{
	StatusOK: "OK", ErrInvalidArgument: "INVALID_ARGUMENT", ErrInvalidState: "INVALID_STATE", ErrClosed: "CLOSED",
	ErrWrongThread: "WRONG_THREAD", ErrForked: "FORKED", ErrPanic: "PANIC", ErrTimeout: "TIMEOUT", ErrIO: "IO",
	ErrBadAddress: "BAD_ADDRESS", ErrAddressInUse: "ADDRESS_IN_USE", ErrBadDescriptor: "BAD_DESCRIPTOR",
	ErrNotFound: "NOT_FOUND", ErrWrongType: "WRONG_TYPE", ErrBufferTooSmall: "BUFFER_TOO_SMALL",
	ErrTruncated: "TRUNCATED", ErrMessageTooSmall: "MESSAGE_TOO_SMALL", ErrMessageTooLarge: "MESSAGE_TOO_LARGE",
	ErrOutOfMemory: "OUT_OF_MEMORY", ErrDecodeFailed: "DECODE_FAILED", ErrDamaged: "DAMAGED", ErrLocked: "LOCKED",
	ErrDiskFull: "DISK_FULL", ErrGated: "GATED", ErrStalled: "STALLED", ErrSequenceGap: "SEQUENCE_GAP", ErrWALRotated: "WAL_ROTATED",
	ErrInvalidMsg: "INVALID_MSG", ErrNotWriter: "NOT_WRITER", ErrBufferFull: "BUFFER_FULL",
	ErrWriteFailed: "WRITE_FAILED", ErrApplyFailed: "APPLY_FAILED", ErrDiverged: "DIVERGED",
	ErrRegressed: "REGRESSED", ErrReplaced: "REPLACED", ErrPeerTimeout: "PEER_TIMEOUT", ErrRemoved: "REMOVED",
	ErrLineageChanged: "LINEAGE_CHANGED",
}

// String returns the status's name, such as "SEQUENCE_GAP". A number that this package does not know may be known to
// the library; otherwise it is "UNKNOWN".
func (s Status) String() string {
	if name, known := statusNames[s]; known {
		return name
	}
	if Load() != nil {
		return "UNKNOWN"
	}
	return C.GoString(C.lr_replication_status_name(C.int32_t(s)))
}

// Error returns the status's name.
func (s Status) Error() string { return s.String() }

// An Error is a failure with its status, what was done, and the library's text about it.
type Error struct {
	// Status is what went wrong; errors.Is compares with it.
	Status Status
	// Op is what was done, such as "listen".
	Op string
	// Message is the library's text: which sequence, address, path or argument.
	Message string
	// Err is what lies behind, such as the error of a handler or of a context; nil when there is nothing.
	Err error
}

// Error returns the whole as a sentence.
func (e *Error) Error() string {
	var text strings.Builder
	text.WriteString("replication: ")
	if e.Op != "" {
		text.WriteString(e.Op + ": ")
	}
	text.WriteString(e.Status.String())
	if e.Message != "" {
		text.WriteString(": " + e.Message)
	}
	if e.Err != nil {
		text.WriteString(": " + e.Err.Error())
	}
	return text.String()
}

// Is compares with a Status.
func (e *Error) Is(target error) bool {
	status, isStatus := target.(Status)
	return isStatus && status == e.Status
}

// Unwrap returns what lies behind.
func (e *Error) Unwrap() error { return e.Err }

func invalid(op, message string) error {
	return &Error{Status: ErrInvalidArgument, Op: op, Message: message}
}

// call makes a call of the library and turns what it returns into an error. The library's text belongs to the thread,
// which a goroutine may leave between two calls.
func call(op string, f func() C.int32_t) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	status := Status(f())
	if status == StatusOK {
		return nil
	}
	return &Error{Status: status, Op: op, Message: C.GoString(C.lr_replication_last_error_message())}
}

// cString is a text for the library, in C's memory.
type cString struct{ pointer *C.char }

// newCString copies a text, which must not have a zero byte: C would see its beginning only.
func newCString(text string) (cString, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return cString{}, invalid("", "a text has a zero byte")
	}
	return cString{C.CString(text)}, nil
}

func (s cString) free() { C.free(unsafe.Pointer(s.pointer)) }

// callText makes a call that takes a text.
func callText(op, text string, f func(*C.char) C.int32_t) error {
	s, err := newCString(text)
	if err != nil {
		err.(*Error).Op = op
		return err
	}
	defer s.free()
	return call(op, func() C.int32_t { return f(s.pointer) })
}

// takeText takes over a text that the library gave away.
func takeText(text *C.char) string {
	defer C.lr_replication_string_free(text)
	return C.GoString(text)
}
