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
	var quorum *C.replication_quorum
	if len(q) == 1 && q[0].Group == "" && q[0].Readers > 0 {
		quorum, q = C.lr_replication_quorum_any(C.size_t(q[0].Readers)), nil
	} else {
		quorum = C.lr_replication_quorum_new()
	}
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
// have. If the context's deadline passes, the error matches ErrTimeout and context.DeadlineExceeded; readers may still have
// the entry, now or later. It returns ErrLost for an entry before the one at which this sender's epoch began: see WaitToken.
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

// AnyReaders returns the quorum of a number of readers, at least 1, of whatever groups.
func AnyReaders(n int) Quorum { return Quorum{{Readers: n}} }

// WaitToken waits until a quorum of readers have acknowledged the entry of a token and all before it, and returns how many
// readers have. The token is from AppendToken, perhaps before a restart or a promotion. It returns ErrLost if the entry is
// not in this sender's history, and ErrWALRotated if the log no longer tells. Otherwise it is like WaitAcked.
func (s *Sender) WaitToken(ctx context.Context, token Token, level AckLevel, quorum Quorum) (int, error) {
	return wait(ctx, "wait token", func(timeoutMS C.uint64_t) (n int, err error) {
		err = quorum.use(func(q *C.replication_quorum) (err error) {
			n, err = s.readers("wait token", func(p *C.replication_sender, n *C.size_t) C.int32_t {
				return C.lr_sender_wait_token(p, token.pointer(), token.length, C.uint32_t(level), q, timeoutMS, n)
			})
			return err
		})
		return n, err
	})
}

// Acked reports, without waiting, whether a quorum of readers have acknowledged the entry of a token, and returns how many
// readers have. It returns ErrTimeout if not enough have so far, ErrClosed if not enough had when the sender was stopped,
// and ErrLost and ErrWALRotated as WaitToken does.
func (s *Sender) Acked(token Token, level AckLevel, quorum Quorum) (n int, err error) {
	err = quorum.use(func(q *C.replication_quorum) (err error) {
		n, err = s.readers("acked", func(p *C.replication_sender, n *C.size_t) C.int32_t {
			return C.lr_sender_acked(p, token.pointer(), token.length, C.uint32_t(level), q, n)
		})
		return err
	})
	return n, err
}

// An AckResult is the result of a wait for acknowledgements.
type AckResult struct {
	// Readers is how many readers have acknowledged the entry.
	Readers int
	// Err is nil, ErrTimeout or ErrClosed.
	Err error
}

// OnAcked calls a function when a quorum of readers have acknowledged the entry of a token, the timeout has passed, or the
// sender is stopped. A negative timeout waits until the sender is stopped. The function is called exactly once, on the
// thread of the event handler, perhaps before OnAcked returns. It is not called if OnAcked returns an error, or if the
// sender is closed in one of its own handlers.
func (s *Sender) OnAcked(token Token, level AckLevel, quorum Quorum, timeout time.Duration, f func(AckResult)) error {
	if f == nil {
		return invalid("on acked", "the function is nil")
	}
	return quorum.use(func(q *C.replication_quorum) error {
		return s.use("on acked", func(p *C.replication_sender) C.int32_t {
			return C.lr_on_acked(p, token.pointer(), token.length, C.uint32_t(level), q, orForever(timeout),
				register(&ackedCall{s.hooks, f}))
		})
	})
}

func orForever(timeout time.Duration) C.uint64_t {
	if timeout < 0 {
		return forever
	}
	return milliseconds(timeout)
}
