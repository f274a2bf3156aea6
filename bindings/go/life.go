package replication

import (
	"context"
	"sync"
)

// A life lasts from Start to Stop, once.
type life struct {
	lock    sync.Mutex
	started bool
	ctx     context.Context
	cancel  context.CancelFunc
	closing sync.Once // when closed by a handler
}

// start runs the library's own start function, after attaching the callbacks; if it fails, it detaches them. When the
// host's context ends, it calls stop.
func (l *life) start(ctx context.Context, attach func(), start func() error, detach func(), stop func() error) error {
	if ctx == nil {
		ctx = context.Background()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.started {
		return start() // the library returns the reason
	}
	l.ctx, l.cancel = context.WithCancel(ctx)
	attach()
	if err := start(); err != nil {
		l.cancel()
		detach()
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

// end releases the goroutine that waits for the context.
func (l *life) end() {
	l.lock.Lock()
	defer l.lock.Unlock()
	if l.cancel != nil {
		l.cancel()
	}
}
