package replication_test

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/libreplication/libreplication/bindings/go"
)

// dropSender makes a sender with a log, whose handler refers to it, and drops it without closing it.
func dropSender(t *testing.T, dir string, run bool) {
	var s *replication.Sender
	var err error
	s, err = replication.OpenSender(&replication.SenderConfig{
		WAL:          &replication.SenderWAL{Dir: dir},
		EventHandler: func(replication.Event) { _ = s.Stats() },
	})
	must(t, err)
	if run {
		must(t, s.Start(context.Background()))
		appendTexts(t, s, "x")
		must(t, s.Stop())
	}
}

// What is dropped without having been closed is freed by the collector, its lock on the log too.
func TestWhatIsDroppedIsFreed(t *testing.T) {
	checkLeaks(t)
	for name, run := range map[string]bool{"never started": false, "stopped": true} {
		dir := filepath.Join(t.TempDir(), "log")
		dropSender(t, dir, run)
		eventually(t, "freeing the sender that was "+name, func() bool {
			runtime.GC()
			s, err := replication.OpenSender(&replication.SenderConfig{WAL: &replication.SenderWAL{Dir: dir}})
			if err != nil && !errors.Is(err, replication.ErrLocked) {
				t.Fatal(err)
			}
			_ = s.Close()
			return err == nil
		})
	}
}

// What runs is not garbage, even if nobody refers to it.
func TestWhatRunsIsKept(t *testing.T) {
	checkLeaks(t)
	s, address := startSender(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	applied := make(chan uint64, 1000)
	func() {
		cfg, _ := follow(address, "forgotten")
		cfg.EntryHandler = func(_ context.Context, entry *replication.ReplicateEntry) error {
			applied <- entry.Sequence
			return nil
		}
		must(t, replication.NewReceiver(cfg).Start(ctx))
	}()
	for i := uint64(1); i <= 20; i++ {
		runtime.GC()
		appendTexts(t, s, "x")
		if sequence := <-applied; sequence != i {
			t.Fatalf("got %d instead of %d", sequence, i)
		}
	}
}
