package replication

/*
#include "callbacks.h"
*/
import "C"

import (
	"context"
	"time"
)

// A Quorum is who must have acknowledged an entry. All its conditions must be met; one reader may count for several.
type Quorum []Condition

// A Condition is so many readers of a group.
type Condition struct {
	// Group is a name from SenderConfig.Groups; "": any readers.
	Group string
	// Readers is how many, at least 1.
	Readers int
}

// use makes a call with the library's form of the quorum.
func (q Quorum) use(f func(*C.replication_quorum) error) error {
	if err := Load(); err != nil {
		return err
	}
	quorum := C.lr_replication_quorum_new()
	if quorum == nil {
		return &Error{Status: ErrOutOfMemory, Op: "quorum"}
	}
	defer C.lr_replication_quorum_free(quorum)
	b := &builder{op: "quorum"}
	for i := range q {
		condition := q[i]
		if condition.Readers < 0 {
			b.refuse("Readers", "it is negative")
		}
		group := b.texts("Group", condition.Group)
		b.set("add", func() C.int32_t {
			return C.lr_replication_quorum_add(quorum, group.pointers[0], C.size_t(condition.Readers))
		})
		group.free()
	}
	if b.err != nil {
		return b.err
	}
	return f(quorum)
}

// readers makes a call that tells how many readers have an entry.
func (s *Sender) readers(op string, f func(*C.replication_sender, *C.size_t) C.int32_t) (int, error) {
	var n C.size_t
	err := s.use(op, func(p *C.replication_sender) C.int32_t { return f(p, &n) })
	return int(n), err
}

// WaitAcked waits until so many readers have acknowledged an entry, and with it all before, and returns how many have.
// When the context's deadline passes the error is ErrTimeout and context.DeadlineExceeded: readers may have the entry
// nevertheless, now or later, which Acked tells.
func (s *Sender) WaitAcked(ctx context.Context, sequence uint64, level AckLevel, readers int) (int, error) {
	if readers < 0 {
		return 0, invalid("wait acked", "the number of readers is negative")
	}
	return wait(ctx, "wait acked", func(timeoutMS C.uint64_t) (int, error) {
		return s.readers("wait acked", func(p *C.replication_sender, n *C.size_t) C.int32_t {
			return C.lr_sender_wait_acked(p, C.uint64_t(sequence), C.uint32_t(level), C.size_t(readers), timeoutMS, n)
		})
	})
}

// WaitAckedQuorum waits until a quorum of readers has acknowledged an entry. Otherwise it is like WaitAcked.
func (s *Sender) WaitAckedQuorum(ctx context.Context, sequence uint64, level AckLevel, quorum Quorum) (int, error) {
	return wait(ctx, "wait acked quorum", func(timeoutMS C.uint64_t) (n int, err error) {
		err = quorum.use(func(q *C.replication_quorum) (err error) {
			n, err = s.readers("wait acked quorum", func(p *C.replication_sender, n *C.size_t) C.int32_t {
				return C.lr_sender_wait_acked_quorum(p, C.uint64_t(sequence), C.uint32_t(level), q, timeoutMS, n)
			})
			return err
		})
		return n, err
	})
}

// Acked tells whether so many readers have acknowledged an entry, without waiting, and how many have. ErrTimeout: not
// enough so far. ErrClosed: not enough had when the sender was stopped.
func (s *Sender) Acked(sequence uint64, level AckLevel, readers int) (int, error) {
	if readers < 0 {
		return 0, invalid("acked", "the number of readers is negative")
	}
	return s.readers("acked", func(p *C.replication_sender, n *C.size_t) C.int32_t {
		return C.lr_sender_acked(p, C.uint64_t(sequence), C.uint32_t(level), C.size_t(readers), n)
	})
}

// AckedQuorum tells whether a quorum of readers has acknowledged an entry. Otherwise it is like Acked.
func (s *Sender) AckedQuorum(sequence uint64, level AckLevel, quorum Quorum) (n int, err error) {
	err = quorum.use(func(q *C.replication_quorum) (err error) {
		n, err = s.readers("acked quorum", func(p *C.replication_sender, n *C.size_t) C.int32_t {
			return C.lr_sender_acked_quorum(p, C.uint64_t(sequence), C.uint32_t(level), q, n)
		})
		return err
	})
	return n, err
}

// An AckResult is how a wait for acknowledgements ended.
type AckResult struct {
	// Ticket is the one that OnAcked gave.
	Ticket uint64
	// Readers is how many readers have acknowledged the entry.
	Readers int
	// Err is nil, ErrTimeout or ErrClosed.
	Err error
}

// OnAcked has a function called when so many readers have acknowledged an entry, or the time has passed, or the sender
// is stopped; a negative time waits until then. It is called exactly once, on the thread of the event handler, perhaps
// before OnAcked returns; with an error from OnAcked, or when the sender is closed in a handler of its own, not at all.
// The ticket is for TicketStatus.
func (s *Sender) OnAcked(sequence uint64, level AckLevel, readers int, timeout time.Duration,
	f func(AckResult)) (ticket uint64, err error) {
	if readers < 0 {
		return 0, invalid("on acked", "the number of readers is negative")
	}
	return s.order("on acked", f, func(p *C.replication_sender, handle C.uintptr_t, ticket *C.uint64_t) C.int32_t {
		return C.lr_on_acked(p, C.uint64_t(sequence), C.uint32_t(level), C.size_t(readers),
			orForever(timeout), handle, ticket)
	})
}

// OnAckedQuorum has a function called when a quorum of readers has acknowledged an entry. Otherwise it is like OnAcked.
func (s *Sender) OnAckedQuorum(sequence uint64, level AckLevel, quorum Quorum, timeout time.Duration,
	f func(AckResult)) (ticket uint64, err error) {
	err = quorum.use(func(q *C.replication_quorum) (err error) {
		ticket, err = s.order("on acked quorum", f, func(p *C.replication_sender, handle C.uintptr_t, ticket *C.uint64_t) C.int32_t {
			return C.lr_on_acked_quorum(p, C.uint64_t(sequence), C.uint32_t(level), q, orForever(timeout), handle, ticket)
		})
		return err
	})
	return ticket, err
}

func orForever(timeout time.Duration) C.uint64_t {
	if timeout < 0 {
		return forever
	}
	return milliseconds(timeout)
}

func (s *Sender) order(op string, f func(AckResult),
	order func(*C.replication_sender, C.uintptr_t, *C.uint64_t) C.int32_t) (uint64, error) {
	if f == nil {
		return 0, invalid(op, "the function is nil")
	}
	var ticket C.uint64_t
	err := s.use(op, func(p *C.replication_sender) C.int32_t {
		return order(p, register(&ackedCall{s.hooks, f}), &ticket)
	})
	return uint64(ticket), err
}

// TicketStatus tells how a call of OnAcked ended or stands, and how many readers have the entry: nil, ErrTimeout,
// ErrClosed, or ErrNotFound for a ticket that is none of this sender, or too old.
func (s *Sender) TicketStatus(ticket uint64) (int, error) {
	return s.readers("ticket status", func(p *C.replication_sender, n *C.size_t) C.int32_t {
		return C.lr_sender_ticket_status(p, C.uint64_t(ticket), n)
	})
}
