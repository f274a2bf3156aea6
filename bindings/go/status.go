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

// String returns the status's name, such as "SEQUENCE_GAP". It asks the library for numbers that this package does not
// know; if the library does not know them either, the name is "UNKNOWN".
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

// An Error is a failure with its status, the operation that failed, and the library's text.
type Error struct {
	// Status is the reason; errors.Is compares with it.
	Status Status
	// Op is the operation that failed, such as "listen".
	Op string
	// Message is the library's text: which sequence, address, path or argument.
	Message string
	// Err is the underlying error, such as that of a handler or a context; nil if there is none.
	Err error
}

// Error returns the error as a sentence.
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

// Is reports whether target is the same Status.
func (e *Error) Is(target error) bool {
	status, isStatus := target.(Status)
	return isStatus && status == e.Status
}

// Unwrap returns the underlying error.
func (e *Error) Unwrap() error { return e.Err }

func invalid(op, message string) error {
	return &Error{Status: ErrInvalidArgument, Op: op, Message: message}
}

// call makes a call of the library and turns its result into an error. The library's text belongs to the thread, and a
// goroutine may change threads between two calls.
func call(op string, f func() C.int32_t) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	status := Status(f())
	if status == StatusOK {
		return nil
	}
	return &Error{Status: status, Op: op, Message: C.GoString(C.lr_replication_last_error_message())}
}

// cString is a string for the library, in C's memory.
type cString struct{ pointer *C.char }

// newCString copies a string, which must not contain a NUL, at which C would end it.
func newCString(text string) (cString, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return cString{}, invalid("", "a text has a zero byte")
	}
	return cString{C.CString(text)}, nil
}

func (s cString) free() { C.free(unsafe.Pointer(s.pointer)) }

// callText makes a call that takes a string.
func callText(op, text string, f func(*C.char) C.int32_t) error {
	s, err := newCString(text)
	if err != nil {
		err.(*Error).Op = op
		return err
	}
	defer s.free()
	return call(op, func() C.int32_t { return f(s.pointer) })
}

// takeText takes ownership of a string that the library returned.
func takeText(text *C.char) string {
	defer C.lr_replication_string_free(text)
	return C.GoString(text)
}
