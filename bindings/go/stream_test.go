package replication_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libreplication/libreplication/bindings/go"
)

func TestEntriesReachTwoReadersInOrder(t *testing.T) {
	checkLeaks(t)
	s, address := startSender(t, nil)
	one, first := follow(address, "one")
	two, second := follow(address, "two")
	a, b := startReceiver(t, one), startReceiver(t, two)
	want := []string{"insert", "", "commit"}
	last := appendTexts(t, s, want...)
	must(t, a.WaitSequence(within(t), last))
	must(t, b.WaitSequence(within(t), last))
	for _, got := range []*inbox{first, second} {
		if !reflect.DeepEqual(got.payloads(), want) {
			t.Errorf("got %q, want %q", got.payloads(), want)
		}
	}
	if got := first.entries[2]; got.Sequence != 3 || got.TimestampUS == 0 {
		t.Errorf("the last entry has sequence %d and timestamp %d", got.Sequence, got.TimestampUS)
	}
	n, err := s.WaitAcked(within(t), last, replication.AckApplied, 2)
	if err != nil || n != 2 {
		t.Errorf("WaitAcked: %d, %v", n, err)
	}
}

func TestABatchArrivesInBatches(t *testing.T) {
	checkLeaks(t)
	const entries, most = 1000, 64
	s, address := startSender(t, nil)
	var calls, count int
	r := startReceiver(t, &replication.ReceiverConfig{
		ReaderID: "batch", WriterAddr: address, BatchEntries: most,
		BatchHandler: func(_ context.Context, batch []replication.ReplicateEntry) (int, error) {
			if len(batch) > most {
				return 0, fmt.Errorf("%d entries in a batch of %d", len(batch), most)
			}
			calls++
			for i := range batch {
				if want := fmt.Sprintf("entry %d", count); string(batch[i].Payload) != want || batch[i].Sequence != uint64(count+1) {
					return i, fmt.Errorf("got %q, want %q", batch[i].Payload, want)
				}
				count++
			}
			return len(batch), nil
		},
	})
	var payloads [][]byte
	for i := 0; i < entries; i++ {
		payloads = append(payloads, []byte(fmt.Sprintf("entry %d", i)))
	}
	first, err := s.AppendBatch(1, payloads)
	must(t, err)
	if first != 1 || s.CurrentSequence() != entries {
		t.Fatalf("the batch begins at %d and ends at %d", first, s.CurrentSequence())
	}
	must(t, r.WaitSequence(within(t), entries))
	if calls >= entries/2 {
		t.Errorf("%d calls for %d entries", calls, entries)
	}
	if _, err := s.AppendBatch(1, nil); !errors.Is(err, replication.ErrInvalidArgument) {
		t.Errorf("an empty batch: %v", err)
	}
}

// A batch handler that fails half-way gets the rest again.
func TestABatchThatFailsHalfWayGoesOnThere(t *testing.T) {
	checkLeaks(t)
	s, address := startSender(t, nil)
	broken := errors.New("no room")
	failed := false
	var got []string
	r, err := replication.OpenReceiver(&replication.ReceiverConfig{
		ReaderID: "half", WriterAddr: address,
		BatchHandler: func(_ context.Context, batch []replication.ReplicateEntry) (int, error) {
			for i := range batch {
				if len(got) == 5 && !failed {
					failed = true
					return i, broken
				}
				got = append(got, string(batch[i].Payload))
			}
			return 0, nil
		},
	})
	must(t, err)
	defer r.Close()
	appendTexts(t, s, "a", "b", "c", "d", "e", "f", "g", "h")
	must(t, r.Start(context.Background()))
	must(t, r.WaitSequence(within(t), 8))
	if text := strings.Join(got, ""); text != "abcdefgh" || !failed {
		t.Errorf("got %q (failed: %v)", text, failed)
	}
	if n := r.Stats()["total_apply_failures"]; n != int64(1) {
		t.Errorf("total_apply_failures is %v", n)
	}
}

// A batch handler that has applied all of them, and then fails, gets none again and loses none.
func TestABatchThatFailsAtItsEndIsApplied(t *testing.T) {
	checkLeaks(t)
	s, address := startSender(t, nil)
	var got []string
	cfg, _ := follow(address, "whole")
	cfg.EntryHandler, cfg.BatchEntries, cfg.ApplyPolicy = nil, 2, replication.ApplySkip
	cfg.BatchHandler = func(_ context.Context, batch []replication.ReplicateEntry) (int, error) {
		for i := range batch {
			got = append(got, string(batch[i].Payload))
		}
		return len(batch), errors.New("too late")
	}
	last := appendTexts(t, s, "a", "b", "c", "d", "e")
	r := startReceiver(t, cfg)
	must(t, r.WaitSequence(within(t), last))
	if text := strings.Join(got, ""); text != "abcde" {
		t.Errorf("got %q", text)
	}
	if n := r.Stats()["total_entries_skipped"]; n != int64(0) {
		t.Errorf("total_entries_skipped is %v", n)
	}
}

// A handler whose context ends has not failed on the entry: it is left for the next receiver, and not given up.
func TestAnEntryThatAStopInterruptsIsNotSkipped(t *testing.T) {
	checkLeaks(t)
	s, address := startSender(t, nil)
	begun := make(chan struct{}, 1)
	cfg, _ := follow(address, "interrupted")
	cfg.ApplyPolicy = replication.ApplySkip
	cfg.EntryHandler = func(ctx context.Context, _ *replication.ReplicateEntry) error {
		select {
		case begun <- struct{}{}:
		default:
		}
		<-ctx.Done()
		return ctx.Err()
	}
	r := startReceiver(t, cfg)
	appendTexts(t, s, "x", "y")
	<-begun
	must(t, r.Stop())
	if r.LastSequence() != 0 || r.Stats()["total_entries_skipped"] != int64(0) {
		t.Errorf("after the stop: %v", r.Stats())
	}
}

func TestAnErrorOfTheHandlerIsInTheEvent(t *testing.T) {
	checkLeaks(t)
	s, address := startSender(t, nil)
	full := errors.New("the table is full")
	var events eventLog
	tries := 0
	cfg, _ := follow(address, "fails")
	cfg.EventHandler = events.add
	cfg.EntryHandler = func(context.Context, *replication.ReplicateEntry) error {
		if tries++; tries < 3 {
			return full
		}
		return nil
	}
	r := startReceiver(t, cfg)
	must(t, r.WaitSequence(within(t), appendTexts(t, s, "x")))
	event := events.first(t, replication.EventApplyFailed)
	if event.Sequence != 1 || event.Status != replication.ErrApplyFailed || !errors.Is(event.Cause, full) ||
		!strings.Contains(event.Message, "the table is full") || !errors.Is(event.Err(), full) ||
		!errors.Is(event.Err(), replication.ErrApplyFailed) {
		t.Errorf("%+v", event)
	}
}

// What the host's own log does not take does not reach the handler, and comes again.
func TestAnEntryThatTheLocalLogRefusesComesAgain(t *testing.T) {
	checkLeaks(t)
	s, address := startSender(t, nil)
	full := errors.New("the log is full")
	var events eventLog
	var order []string // only the thread of the callbacks adds to it
	cfg, _ := follow(address, "logs")
	cfg.EventHandler = events.add
	refused := false
	cfg.LocalWAL = walFunc(func(payload []byte) error {
		if string(payload) == "b" && !refused {
			refused = true
			order = append(order, "refused b")
			return full
		}
		order = append(order, "logged "+string(payload))
		return nil
	})
	cfg.EntryHandler = func(_ context.Context, entry *replication.ReplicateEntry) error {
		order = append(order, "applied "+string(entry.Payload))
		return nil
	}
	r := startReceiver(t, cfg)
	must(t, r.WaitSequence(within(t), appendTexts(t, s, "a", "b", "c")))
	event := events.first(t, replication.EventApplyFailed)
	if event.Sequence != 2 || !errors.Is(event.Cause, full) || !strings.Contains(event.Message, "the log is full") {
		t.Errorf("%+v", event)
	}
	if n := r.Stats()["total_apply_failures"]; n != int64(1) {
		t.Errorf("total_apply_failures is %v", n)
	}
	must(t, r.Close())
	want := []string{"logged a", "applied a", "refused b", "logged b", "applied b", "logged c", "applied c"}
	if !reflect.DeepEqual(order, want) {
		t.Errorf("%q instead of %q", order, want)
	}
}

// A node that only keeps a log needs no handler beside it.
func TestALocalLogNeedsNoHandler(t *testing.T) {
	checkLeaks(t)
	s, address := startSender(t, nil)
	local := &rawLog{}
	r := startReceiver(t, &replication.ReceiverConfig{ReaderID: "logs", WriterAddr: address, LocalWAL: local})
	must(t, r.WaitSequence(within(t), appendTexts(t, s, "a", "b")))
	must(t, r.Close())
	if len(local.payloads) != 2 || string(local.payloads[1]) != "b" {
		t.Errorf("the local log has %q", local.payloads)
	}
	if _, err := replication.OpenReceiver(&replication.ReceiverConfig{ReaderID: "r", WriterAddr: address}); err == nil {
		t.Error("a receiver without any handler")
	}
}

// The library's threads block the signals that are sent to them. Go's own one must come through, by which it stops a handler that runs long for
// the collector. In a process of its own: one in which the collector waits cannot even end by itself.
func TestAHandlerThatSpinsDoesNotHoldUpTheCollector(t *testing.T) {
	p := startRole(t, "spin")
	must(t, p.Wait())
}

func init() { roles["spin"] = spin }

func spin() error {
	s, r := replication.NewSender(nil), (*replication.Receiver)(nil)
	defer s.Close()
	if err := s.Start(context.Background()); err != nil {
		return err
	}
	port, err := s.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	var spins, enough atomic.Bool
	cfg, _ := follow(fmt.Sprintf("127.0.0.1:%d", port), "spins")
	cfg.EntryHandler = func(context.Context, *replication.ReplicateEntry) error {
		spins.Store(true)
		for !enough.Load() { // no call, no allocation: nothing at which Go could stop it by itself
		}
		return nil
	}
	r = replication.NewReceiver(cfg)
	defer r.Close()
	if err := r.Start(context.Background()); err != nil {
		return err
	}
	if _, err := s.Append(0, nil); err != nil {
		return err
	}
	for !spins.Load() {
		time.Sleep(time.Millisecond)
	}
	runtime.GC()
	enough.Store(true)
	return nil
}

func TestPauseAndResume(t *testing.T) {
	checkLeaks(t)
	s, address := startSender(t, nil)
	cfg, got := follow(address, "pauses")
	r := startReceiver(t, cfg)
	must(t, r.WaitSequence(within(t), appendTexts(t, s, "before")))
	must(t, r.Pause())
	last := appendTexts(t, s, "meanwhile")
	if _, err := s.WaitAcked(within(t), last, replication.AckReceived, 1); err != nil {
		t.Fatal(err)
	}
	if r.LastSequence() != 1 || len(got.payloads()) != 1 {
		t.Error("an entry was applied meanwhile")
	}
	must(t, r.Resume())
	must(t, r.WaitSequence(within(t), last))
}

func TestAContextEndsAWaitAndAStart(t *testing.T) {
	checkLeaks(t)
	s, err := replication.OpenSender(nil)
	must(t, err)
	defer s.Close()
	ctx, cancel := context.WithCancel(context.Background())
	must(t, s.Start(ctx))
	sequence := appendTexts(t, s, "x")

	short, stop := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer stop()
	n, err := s.WaitAcked(short, sequence, replication.AckReceived, 1)
	if n != 0 || !errors.Is(err, replication.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after the deadline: %d, %v", n, err)
	}
	long, stop := context.WithTimeout(context.Background(), 150*time.Millisecond) // longer than one look
	defer stop()
	_, err = s.WaitAcked(long, sequence, replication.AckReceived, 1)
	_, text, _ := strings.Cut(fmt.Sprint(err), "within ")
	var ms int
	if _, bad := fmt.Sscanf(text, "%d ms", &ms); bad != nil || ms <= 100 || ms > 150 {
		t.Errorf("the text names another time than the caller's: %v", err)
	}
	waits, leave := context.WithCancel(context.Background())
	time.AfterFunc(10*time.Millisecond, leave)
	if _, err := s.WaitAcked(waits, sequence, replication.AckReceived, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancelling: %v", err)
	}
	ended := make(chan error)
	go func() {
		_, err := s.WaitAcked(context.Background(), sequence, replication.AckReceived, 1)
		ended <- err
	}()
	cancel() // stops the sender
	if err := <-ended; !errors.Is(err, replication.ErrClosed) {
		t.Errorf("after the sender's context ended: %v", err)
	}
	if _, err := s.Append(0, nil); !errors.Is(err, replication.ErrClosed) {
		t.Errorf("append after the end: %v", err)
	}
	if err := s.Start(context.Background()); !errors.Is(err, replication.ErrClosed) {
		t.Errorf("a start after the end: %v", err)
	}
}
