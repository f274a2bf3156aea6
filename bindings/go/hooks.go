package replication

/*
#include "callbacks.h"
*/
import "C"

import (
	"encoding/json"
	"fmt"
	"runtime/cgo"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/rs/zerolog"
)

// hooks connects the library's callbacks to the sender or receiver of their handle while it runs: from Start, which
// thereby keeps it alive, to the end of Stop. After that it can be collected once the host no longer refers to it.
type hooks struct {
	sender   atomic.Pointer[Sender]
	receiver atomic.Pointer[Receiver]
}

// hooked is the type of every handle's value.
type hooked interface{ owner() *hooks }

func (h *hooks) owner() *hooks { return h }

// register returns the number of a new handle. The library releases it once with lrRelease.
func register(value hooked) C.uintptr_t { return C.uintptr_t(cgo.NewHandle(value)) }

// inCallback reports whether the caller runs in a callback of the same sender or receiver.
func (h *hooks) inCallback() bool {
	current := C.lr_current_handle()
	return current != 0 && cgo.Handle(current).Value().(hooked).owner() == h
}

//export lrRelease
func lrRelease(handle C.uintptr_t) {
	_ = protect(func() error { cgo.Handle(handle).Delete(); return nil })
}

// A PanicError is the error that a panic in a handler becomes.
type PanicError struct {
	// Value is what the handler panicked with.
	Value interface{}
	// Stack is the stack trace of the panic.
	Stack []byte
}

// Error returns the panic as a sentence.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// protect turns a panic of f into an error, because a panic must not pass through C. It detects a panic by f not
// returning, not by the recovered value, which may be nil in modules for Go before 1.21.
func protect(f func() error) (err error) {
	returned := false
	defer func() {
		if !returned {
			err = &PanicError{Value: recover(), Stack: debug.Stack()}
		}
	}()
	err = f()
	returned = true
	return err
}

// A host is a sender or receiver to which events and log records are passed.
type host interface {
	handleEvent(*Event)
	handleLog(level zerolog.Level, message string, fields map[string]interface{})
	complain(err error, message string)
}

// tell passes an event or log record to the host. It has no result, so a panic can only be logged.
func tell(handle C.uintptr_t, what string, f func(host)) {
	var to host
	err := protect(func() error {
		h := cgo.Handle(handle).Value().(hooked).owner()
		if sender := h.sender.Load(); sender != nil {
			to = sender
		} else if receiver := h.receiver.Load(); receiver != nil {
			to = receiver
		} else {
			return nil
		}
		f(to)
		return nil
	})
	if err != nil && to != nil {
		_ = protect(func() error { to.complain(err, what); return nil })
	}
}

//export lrEvent
func lrEvent(handle C.uintptr_t, event *C.replication_event) {
	tell(handle, "the event handler failed", func(to host) {
		to.handleEvent(&Event{
			Kind:     EventKind(event.kind),
			Status:   Status(event.status),
			Sequence: uint64(event.sequence),
			ReaderID: C.GoString(event.reader_id),
			Address:  C.GoString(event.address),
			Identity: C.GoString(event.identity),
			Message:  C.GoString(event.message),
			Detail:   json.RawMessage(C.GoString(event.detail_json)),
		})
	})
}

//export lrAuthorize
func lrAuthorize(handle C.uintptr_t, request *C.replication_access_request) {
	tell(handle, "the authorize handler failed", func(to host) {
		asked := AccessRequest{
			Ticket:   uint64(request.ticket),
			ReaderID: C.GoString(request.reader_id),
			Address:  C.GoString(request.address),
			Identity: C.GoString(request.identity),
			Epoch:    uint64(request.epoch),
			Sequence: uint64(request.sequence),
			Rights:   Right(request.rights),
			TLS:      bool(request.tls),
			Handed:   bool(request.handed),
		}
		if request.stream_id != nil {
			asked.StreamID = C.GoBytes(unsafe.Pointer(request.stream_id), 16)
		}
		to.(*Sender).onAuthorize(asked)
	})
}

var zerologLevels = map[C.int32_t]zerolog.Level{
	C.REPLICATION_LOG_LEVEL_ERROR: zerolog.ErrorLevel,
	C.REPLICATION_LOG_LEVEL_WARN:  zerolog.WarnLevel,
	C.REPLICATION_LOG_LEVEL_INFO:  zerolog.InfoLevel,
	C.REPLICATION_LOG_LEVEL_DEBUG: zerolog.DebugLevel,
}

//export lrLog
func lrLog(handle C.uintptr_t, level C.int32_t, message, fieldsJSON *C.char) {
	tell(handle, "the logger failed", func(to host) {
		zerologLevel, known := zerologLevels[level]
		if !known {
			zerologLevel = zerolog.DebugLevel
		}
		fields, _ := decodeStats(C.GoString(fieldsJSON))
		to.handleLog(zerologLevel, C.GoString(message), fields)
	})
}

// logLevel returns the least severe library level that a logger writes, or 0 if it writes none. The zero Logger writes
// nothing.
func logLevel(logger *zerolog.Logger) C.int32_t {
	for _, level := range []C.int32_t{
		C.REPLICATION_LOG_LEVEL_DEBUG, C.REPLICATION_LOG_LEVEL_INFO,
		C.REPLICATION_LOG_LEVEL_WARN, C.REPLICATION_LOG_LEVEL_ERROR,
	} {
		event := logger.WithLevel(zerologLevels[level])
		enabled := event.Enabled()
		event.Discard()
		if enabled {
			return level
		}
	}
	return 0
}

// ackedCall is the value of a handle that waits for acknowledgements.
type ackedCall struct {
	*hooks
	call func(AckResult)
}

//export lrAcked
func lrAcked(handle C.uintptr_t, status C.int32_t, readers C.size_t) {
	tell(handle, "the callback of OnAcked failed", func(host) {
		result := AckResult{Readers: int(readers)}
		if Status(status) != StatusOK {
			result.Err = Status(status)
		}
		cgo.Handle(handle).Value().(*ackedCall).call(result)
	})
}

// attempt calls the host with an entry. It keeps the error for the events that report it.
func attempt(handle C.uintptr_t, sequence func() uint64, f func(*Receiver) error) C.int32_t {
	var r *Receiver
	err := protect(func() error {
		if r = receiverOf(handle); r == nil {
			return &Error{Status: ErrClosed, Op: "apply"}
		}
		return f(r)
	})
	if err == nil {
		return 0
	}
	if r != nil {
		_ = protect(func() error { r.failures.add(sequence(), err); return nil })
		if r.life.ctx.Err() != nil {
			return C.int32_t(ErrClosed) // the receiver is being stopped: the entry is kept for later, not given up
		}
	}
	return failureCode(err)
}

// receiverOf returns the receiver of a handle, or nil if it is being closed.
func receiverOf(handle C.uintptr_t) *Receiver {
	return cgo.Handle(handle).Value().(hooked).owner().receiver.Load()
}

// failureCode returns the number that reports a handler's error to the library: the error's status if it has one.
func failureCode(err error) C.int32_t {
	switch e := err.(type) {
	case *PanicError:
		return C.int32_t(ErrPanic)
	case *Error:
		if e.Status != StatusOK {
			return C.int32_t(e.Status)
		}
	}
	return C.int32_t(ErrApplyFailed)
}

//export lrIngest
func lrIngest(handle C.uintptr_t, sequence, timestampUS C.uint64_t, payload *C.uint8_t, payloadLen C.size_t) C.int32_t {
	return attempt(handle, func() uint64 { return uint64(sequence) }, func(r *Receiver) error {
		return r.applyEntry(&ReplicateEntry{uint64(sequence), uint64(timestampUS), copyBytes(payload, payloadLen)})
	})
}

//export lrLocalWAL
func lrLocalWAL(handle C.uintptr_t, sequence C.uint64_t, payload *C.uint8_t, payloadLen C.size_t) C.int32_t {
	return attempt(handle, func() uint64 { return uint64(sequence) }, func(r *Receiver) error {
		return r.localWAL.AppendRaw(copyBytes(payload, payloadLen))
	})
}

//export lrIngestBatch
func lrIngestBatch(handle C.uintptr_t, entries *C.replication_entry, count C.size_t, applied *C.size_t) C.int32_t {
	var batch []C.replication_entry
	failed := func() uint64 {
		if *applied == count {
			return 0 // a handler that applied all entries has failed on none
		}
		return uint64(batch[*applied].sequence)
	}
	return attempt(handle, failed, func(r *Receiver) error {
		batch = unsafe.Slice(entries, int(count))
		if cap(r.batch) < len(batch) {
			r.batch = make([]ReplicateEntry, len(batch))
		}
		converted := r.batch[:len(batch)]
		for i := range batch {
			converted[i] = ReplicateEntry{
				Sequence:    uint64(batch[i].sequence),
				TimestampUS: uint64(batch[i].timestamp_us),
				Payload:     viewBytes(batch[i].payload, batch[i].payload_len),
			}
		}
		taken, err := r.applyBatch(converted)
		if err != nil {
			*applied = C.size_t(within(taken, len(batch)))
		}
		return err
	})
}

// within limits a number from the host to the valid range.
func within(n, most int) int {
	if n < 0 {
		return 0
	}
	if n > most {
		return most
	}
	return n
}

//export lrRecord
func lrRecord(handle C.uintptr_t, sequence, timestampUS C.uint64_t, records *C.replication_records) C.int32_t {
	return attempt(handle, func() uint64 { return uint64(sequence) }, func(r *Receiver) error {
		given := &Records{pointer: records, lent: true}
		defer given.Close()
		return r.applyRecords(uint64(sequence), uint64(timestampUS), given)
	})
}

//export lrConnect
func lrConnect(handle C.uintptr_t, writerAddr *C.char) C.int {
	fd := -1
	var r *Receiver
	err := protect(func() (err error) {
		if r = receiverOf(handle); r != nil {
			fd, err = r.dial(C.GoString(writerAddr))
		}
		return err
	})
	if r != nil {
		r.failures.setDial(err)
	}
	return C.int(fd)
}

// copyBytes copies from C's memory. The result is never nil, so an empty payload is an empty slice.
func copyBytes(data *C.uint8_t, n C.size_t) []byte {
	copied := make([]byte, n)
	copy(copied, viewBytes(data, n))
	return copied
}

// viewBytes returns C's memory as a slice.
func viewBytes(data *C.uint8_t, n C.size_t) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(data)), int(n))
}

// failures keeps the errors of handlers until the library's events about them arrive, for the text and for errors.Is.
type failures struct {
	lock  sync.Mutex
	apply [16]failure
	next  int
	dial  error
}

type failure struct {
	sequence uint64
	err      error
}

func (f *failures) add(sequence uint64, err error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.apply[f.next%len(f.apply)] = failure{sequence, err}
	f.next++
}

// find returns the last error for an entry.
func (f *failures) find(sequence uint64) error {
	f.lock.Lock()
	defer f.lock.Unlock()
	for i := f.next - 1; i >= 0 && i >= f.next-len(f.apply); i-- {
		if kept := f.apply[i%len(f.apply)]; kept.sequence == sequence {
			return kept.err
		}
	}
	return nil
}

// last returns the last error for any entry.
func (f *failures) last() error {
	f.lock.Lock()
	defer f.lock.Unlock()
	if f.next == 0 {
		return nil
	}
	return f.apply[(f.next-1)%len(f.apply)].err
}

// setDial records the result of the last attempt to dial.
func (f *failures) setDial(err error) {
	f.lock.Lock()
	f.dial = err
	f.lock.Unlock()
}

// lastDial returns the result of the last attempt to dial.
func (f *failures) lastDial() error {
	f.lock.Lock()
	defer f.lock.Unlock()
	return f.dial
}
