package replication

import (
	"context"
	"sync"
)

// A life is from Start to Stop, once.
type life struct {
	lock    sync.Mutex
	started bool
	ctx     context.Context
	cancel  context.CancelFunc
}

// start begins it by begin, unless that fails. When the host's context ends, stop is called.
func (l *life) start(ctx context.Context, begin func(context.Context) error, undo func(), stop func() error) error {
	if ctx == nil {
		ctx = context.Background()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.started {
		return &Error{Status: ErrInvalidState, Op: "start", Message: "it was started before"}
	}
	l.ctx, l.cancel = context.WithCancel(ctx)
	if err := begin(l.ctx); err != nil {
		l.cancel()
		undo()
		return err
	}
	l.started = true
	if ctx.Done() != nil {
		go func() {
			<-l.ctx.Done() // also when it was stopped
			if ctx.Err() != nil {
				_ = stop()
			}
		}()
	}
	return nil
}

// end lets go what waits for the context.
func (l *life) end() {
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.cancel != nil {
		l.cancel()
	}
}
