package replication

/*
#include "callbacks.h"
*/
import "C"

import (
	"context"
	"time"
)

// A Quorum states which readers must have acknowledged an entry. All its conditions must be met; one reader may count
// for several.
type Quorum []Condition

// A Condition requires a number of readers from a group.
type Condition struct {
	// Group is a name from SenderConfig.Groups; "" means any readers.
	Group string
	// Readers is how many readers of the group must have acknowledged, at least 1.
	Readers int
}

// use converts the quorum to the library's form and makes a call with it.
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

// readers makes a call that returns how many readers have an entry.
func (s *Sender) readers(op string, f func(*C.replication_sender, *C.size_t) C.int32_t) (int, error) {
	var n C.size_t
	err := s.use(op, func(p *C.replication_sender) C.int32_t { return f(p, &n) })
	return int(n), err
}

// WaitAcked waits until the given number of readers have acknowledged an entry and all before it, and returns how many
// have. If the context's deadline passes, the error matches ErrTimeout and context.DeadlineExceeded. Readers may still
// have the entry, now or later; Acked reports whether they do.
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

// WaitAckedQuorum is like WaitAcked, for a quorum of readers.
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

// Acked reports, without waiting, whether the given number of readers have acknowledged an entry, and returns how many
// have. It returns ErrTimeout if not enough have so far, and ErrClosed if not enough had when the sender was stopped.
func (s *Sender) Acked(sequence uint64, level AckLevel, readers int) (int, error) {
	if readers < 0 {
		return 0, invalid("acked", "the number of readers is negative")
	}
	return s.readers("acked", func(p *C.replication_sender, n *C.size_t) C.int32_t {
		return C.lr_sender_acked(p, C.uint64_t(sequence), C.uint32_t(level), C.size_t(readers), n)
	})
}

// AckedQuorum is like Acked, for a quorum of readers.
func (s *Sender) AckedQuorum(sequence uint64, level AckLevel, quorum Quorum) (n int, err error) {
	err = quorum.use(func(q *C.replication_quorum) (err error) {
		n, err = s.readers("acked quorum", func(p *C.replication_sender, n *C.size_t) C.int32_t {
			return C.lr_sender_acked_quorum(p, C.uint64_t(sequence), C.uint32_t(level), q, n)
		})
		return err
	})
	return n, err
}

// An AckResult is the result of a wait for acknowledgements.
type AckResult struct {
	// Ticket is the ticket that OnAcked returned.
	Ticket uint64
	// Readers is how many readers have acknowledged the entry.
	Readers int
	// Err is nil, ErrTimeout or ErrClosed.
	Err error
}

// OnAcked calls a function when the given number of readers have acknowledged an entry, the timeout has passed, or the
// sender is stopped. A negative timeout waits until the sender is stopped. The function is called exactly once, on the
// thread of the event handler, perhaps before OnAcked returns. It is not called if OnAcked returns an error, or if the
// sender is closed in one of its own handlers. The ticket is for TicketStatus.
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

// OnAckedQuorum is like OnAcked, for a quorum of readers.
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

// TicketStatus reports the result of an OnAcked call, or its progress so far, and returns how many readers have the
// entry. The error is nil, ErrTimeout, ErrClosed, or ErrNotFound for a ticket that is not from this sender or is too
// old.
func (s *Sender) TicketStatus(ticket uint64) (int, error) {
	return s.readers("ticket status", func(p *C.replication_sender, n *C.size_t) C.int32_t {
		return C.lr_sender_ticket_status(p, C.uint64_t(ticket), n)
	})
}
