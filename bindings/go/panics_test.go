package replication_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/libreplication/libreplication/bindings/go"
	"github.com/rs/zerolog"
)

// A walFunc is a function as a WALWriter.
type walFunc func(payload []byte) error

func (f walFunc) AppendRaw(payload []byte) error { return f(payload) }

// A journal is where a logger writes.
type journal struct {
	lock  sync.Mutex
	lines []string
}

func (j *journal) Write(line []byte) (int, error) {
	j.lock.Lock()
	defer j.lock.Unlock()
	j.lines = append(j.lines, string(line))
	return len(line), nil
}

// has says whether a line has all these texts.
func (j *journal) has(texts ...string) bool {
	j.lock.Lock()
	defer j.lock.Unlock()
lines:
	for _, line := range j.lines {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue lines
			}
		}
		return true
	}
	return false
}

// A panic in what takes entries is the error of the entry, with its value and its place.
func TestAPanicOfAHandlerIsAnApplyFailure(t *testing.T) {
	wrong := errors.New("the value of a panic")
	for name, test := range map[string]struct {
		panics func(*replication.ReceiverConfig)
		text   string
	}{
		"IngestHandler": {func(c *replication.ReceiverConfig) {
			c.IngestHandler = replication.IngestHandlerFunc(func(context.Context, []byte) error { panic(wrong) })
		}, wrong.Error()},
		"EntryHandler": {func(c *replication.ReceiverConfig) {
			c.EntryHandler = func(context.Context, *replication.ReplicateEntry) error {
				var nobody map[string]int
				nobody["x"] = 1
				return nil
			}
		}, "assignment to entry in nil map"},
		"BatchHandler": {func(c *replication.ReceiverConfig) {
			c.BatchHandler = func(_ context.Context, batch []replication.ReplicateEntry) (int, error) {
				return int(batch[len(batch)].Sequence), nil
			}
		}, "index out of range"},
		"RecordHandler": {func(c *replication.ReceiverConfig) {
			c.RecordHandler = func(context.Context, uint64, uint64, *replication.Records) error { panic("by the records") }
		}, "by the records"},
		"a panic with nil": {func(c *replication.ReceiverConfig) {
			c.EntryHandler = func(context.Context, *replication.ReplicateEntry) error { panic(nil) }
		}, "nil"},
		"LocalWAL": {func(c *replication.ReceiverConfig) {
			c.LocalWAL = walFunc(func([]byte) error { panic("by the local log") })
			c.EntryHandler = func(context.Context, *replication.ReplicateEntry) error {
				t.Error("the handler got what the local log has not")
				return nil
			}
		}, "by the local log"},
	} {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			s, address := startSender(t, nil)
			var events eventLog
			cfg, _ := follow(address, "panics")
			cfg.EntryHandler, cfg.EventHandler, cfg.ApplyPolicy = nil, events.add, replication.ApplyStop
			test.panics(cfg)
			r := startReceiver(t, cfg)
			err := r.WaitSequence(within(t), appendTexts(t, s, "\x91\x80")) // one record, which has nothing
			var panicked *replication.PanicError
			if !errors.Is(err, replication.ErrApplyFailed) || !errors.As(err, &panicked) {
				t.Fatalf("WaitSequence: %v", err)
			}
			if !strings.Contains(panicked.Error(), test.text) || !strings.Contains(string(panicked.Stack), "panics_test.go") {
				t.Errorf("%v at %s", panicked, panicked.Stack)
			}
			if errors.Is(err, wrong) != (test.text == wrong.Error()) {
				t.Errorf("what lies behind is %v", panicked.Unwrap())
			}
			for _, kind := range []replication.EventKind{replication.EventApplyFailed, replication.EventStopped} {
				event := events.first(t, kind)
				if event.Sequence != 1 || event.Cause != error(panicked) || !strings.Contains(event.Message, test.text) ||
					!strings.Contains(string(event.Detail), `"code":6`) {
					t.Errorf("%+v", event)
				}
			}
			if r.Stats()["running"] != false || r.LastSequence() != 0 {
				t.Error("the receiver goes on")
			}
		})
	}
}

// A panic in any other handler is logged or told by an event, and everything goes on.
func TestEveryOtherHandlerMayPanicToo(t *testing.T) {
	checkLeaks(t)
	var log journal
	var events eventLog
	logger := zerolog.New(&log).Level(zerolog.ErrorLevel)
	s, address := startSender(t, &replication.SenderConfig{
		Logger: logger, EventHandler: func(replication.Event) { panic("by the sender's events") },
	})
	cfg, got := follow(address, "panics")
	cfg.Logger = logger
	cfg.EventHandler = func(event replication.Event) {
		events.add(event)
		panic("by the receiver's events")
	}
	var dials, appends atomic.Int32
	cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
		if dials.Add(1) == 1 {
			panic("by dialling")
		}
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	cfg.LocalWAL = walFunc(func([]byte) error {
		if appends.Add(1) == 1 {
			panic("by the local log")
		}
		return nil
	})
	r := startReceiver(t, cfg)
	sequence := appendTexts(t, s, "entry")
	token, err := s.Token()
	must(t, err)
	must(t, s.OnAcked(token, replication.AckApplied, replication.AnyReaders(1), -1,
		func(replication.AckResult) { panic("by the order") }))
	must(t, r.WaitSequence(within(t), sequence))
	for _, texts := range [][]string{
		{"the event handler failed", "panic: by the sender's events"},
		{"the event handler failed", "panic: by the receiver's events"},
		{"the callback of OnAcked failed", "panic: by the order"},
	} {
		eventually(t, strings.Join(texts, ": "), func() bool { return log.has(texts...) })
	}
	for kind, text := range map[replication.EventKind]string{
		replication.EventDisconnected: "panic: by dialling", replication.EventApplyFailed: "panic: by the local log",
	} {
		event := events.first(t, kind)
		var panicked *replication.PanicError
		if !errors.As(event.Cause, &panicked) || panicked.Error() != text || !strings.Contains(event.Message, text) {
			t.Errorf("%+v", event)
		}
	}
	if texts := got.payloads(); len(texts) != 1 || texts[0] != "entry" || appends.Load() != 2 {
		t.Errorf("the handler got %q, the local log %d entries", texts, appends.Load())
	}
}

// A logger that panics has nobody to tell it to, and harms nobody.
func TestALoggerMayPanicToo(t *testing.T) {
	checkLeaks(t)
	var writes [2]panickingWriter
	s, address := startSender(t, &replication.SenderConfig{Logger: zerolog.New(&writes[0])})
	cfg, _ := follow(address, "panics")
	cfg.Logger = zerolog.New(&writes[1])
	tries := 0
	cfg.EntryHandler = func(context.Context, *replication.ReplicateEntry) error {
		if tries++; tries == 1 {
			return errors.New("once")
		}
		return nil
	}
	r := startReceiver(t, cfg)
	must(t, r.WaitSequence(within(t), appendTexts(t, s, "x")))
	for i := range writes {
		// once for the record, once to tell that it could not be written
		eventually(t, "the logging", func() bool { return writes[i].Load() >= 2 })
	}
}

type panickingWriter struct{ atomic.Int32 }

func (w *panickingWriter) Write([]byte) (int, error) {
	w.Add(1)
	panic("by the logger")
}
