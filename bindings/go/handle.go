package replication

/*
#include "library.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// A handle is a sender or receiver of the library. It is freed after the last call that uses it, or by the garbage
// collector once nothing refers to it. It must not refer to anything that leads back to it, or it would never be
// collected.
type handle struct {
	lock    sync.RWMutex // held for reading during every call
	pointer unsafe.Pointer
	free    func(unsafe.Pointer)
	err     error // returned by calls when there is no pointer
}

func newHandle(pointer unsafe.Pointer, free func(unsafe.Pointer)) *handle {
	h := &handle{pointer: pointer, free: free}
	runtime.SetFinalizer(h, func(h *handle) { go h.close() })
	return h
}

// use makes a call unless the handle is freed.
func (h *handle) use(op string, f func(unsafe.Pointer) C.int32_t) error {
	h.lock.RLock()
	defer h.lock.RUnlock()
	if h.pointer == nil {
		return h.missing(op)
	}
	return call(op, func() C.int32_t { return f(h.pointer) })
}

// stop makes a call that stops the handle, unless it is freed already.
func (h *handle) stop(f func(unsafe.Pointer) C.int32_t) error {
	h.lock.RLock()
	defer h.lock.RUnlock()
	if h.pointer == nil {
		return nil
	}
	return call("stop", func() C.int32_t { return f(h.pointer) })
}

// missing returns the error of a call without a pointer.
func (h *handle) missing(op string) error {
	if h.err != nil {
		return h.err
	}
	return &Error{Status: ErrClosed, Op: op, Message: "it was closed"}
}

// close frees the handle after the calls in progress. Stop it first, so that calls that wait end.
func (h *handle) close() {
	h.lock.Lock()
	defer h.lock.Unlock()
	if h.pointer != nil {
		runtime.SetFinalizer(h, nil)
		h.free(h.pointer)
		h.pointer = nil
	}
}

// look is how long one wait in the library lasts if its context can end. Its thread may keep waiting for this long
// after the context has ended.
const look = 100 * time.Millisecond

const forever = C.uint64_t(math.MaxUint64)

// wait makes a call that waits in the library, until the context ends.
func wait(ctx context.Context, op string, once func(timeoutMS C.uint64_t) (int, error)) (int, error) {
	began := time.Now()
	// First without waiting: the condition may be met already, or never, or this may be a callback, where waiting is
	// refused.
	n, err := once(0)
	if !errors.Is(err, ErrTimeout) {
		return n, err
	}
	if ctx.Done() == nil {
		return once(forever)
	}
	type result struct {
		n   int
		err error
	}
	results := make(chan result, 1)
	var over atomic.Bool
	go func() {
		for {
			n, err := once(C.uint64_t(look.Milliseconds()))
			if !errors.Is(err, ErrTimeout) || over.Load() {
				results <- result{n, err}
				return
			}
		}
	}()
	select {
	case r := <-results:
		return r.n, r.err
	case <-ctx.Done():
	}
	over.Store(true)
	n, err = once(0)
	var failed *Error
	switch {
	case !errors.Is(err, ErrTimeout):
		return n, err
	case errors.Is(ctx.Err(), context.DeadlineExceeded) && errors.As(err, &failed):
		failed.Err = ctx.Err()
		if deadline, ok := ctx.Deadline(); ok {
			failed.Message = withTime(failed.Message, deadline.Sub(began))
		}
		return n, failed
	default:
		return n, fmt.Errorf("replication: %s: %w", op, ctx.Err())
	}
}

// withTime returns the text of a final check, which did not wait, with the timeout that the caller gave.
func withTime(message string, given time.Duration) string {
	const looked = "within 0 ms"
	at := strings.LastIndex(message, looked)
	if at < 0 {
		return message
	}
	if given < 0 {
		given = 0
	}
	return fmt.Sprintf("%swithin %d ms%s", message[:at], uint64(milliseconds(given)), message[at+len(looked):])
}

// milliseconds rounds up, so that a short duration does not become 0.
func milliseconds(d time.Duration) C.uint64_t {
	return C.uint64_t((d + time.Millisecond - 1) / time.Millisecond)
}

// A builder sets options that are not zero, until one is refused.
type builder struct {
	op  string
	err error
}

func (b *builder) set(option string, f func() C.int32_t) {
	if b.err == nil {
		b.err = call(b.op+": "+option, f)
	}
}

func (b *builder) refuse(option, message string) {
	if b.err == nil {
		b.err = invalid(b.op+": "+option, message)
	}
}

func (b *builder) text(option, text string, f func(*C.char) C.int32_t) {
	if b.err == nil && text != "" {
		b.err = callText(b.op+": "+option, text, f)
	}
}

func (b *builder) duration(option string, d time.Duration, f func(C.uint64_t) C.int32_t) {
	if d < 0 {
		b.refuse(option, fmt.Sprintf("%v is negative", d))
	} else if d > 0 {
		b.set(option, func() C.int32_t { return f(milliseconds(d)) })
	}
}

func (b *builder) count(option string, n int, f func(C.size_t) C.int32_t) {
	if n < 0 {
		b.refuse(option, fmt.Sprintf("%d is negative", n))
	} else if n > 0 {
		b.set(option, func() C.int32_t { return f(C.size_t(n)) })
	}
}

func (b *builder) number(option string, n uint64, f func(C.uint64_t) C.int32_t) {
	if n > 0 {
		b.set(option, func() C.int32_t { return f(C.uint64_t(n)) })
	}
}

// texts holds strings for the library; an empty string is NULL.
type texts struct{ pointers []*C.char }

func (b *builder) texts(option string, given ...string) texts {
	t := texts{make([]*C.char, len(given))}
	for i, text := range given {
		if text == "" {
			continue
		}
		s, err := newCString(text)
		if err != nil {
			b.refuse(option, "a text has a zero byte")
			continue
		}
		t.pointers[i] = s.pointer
	}
	return t
}

func (t texts) free() {
	for _, pointer := range t.pointers {
		C.free(unsafe.Pointer(pointer))
	}
}
