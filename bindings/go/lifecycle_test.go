package replication_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/libreplication/libreplication/bindings/go"
)

// lifecycles is how many lives the storm has: REPLICATION_LIFECYCLES, or 10000.
func lifecycles(t *testing.T) int {
	if text := os.Getenv("REPLICATION_LIFECYCLES"); text != "" {
		n, err := strconv.Atoi(text)
		must(t, err)
		return n
	}
	return 10000
}

// Senders and receivers end in any state, closed by any goroutine, in a callback, by their context, by a finalizer or by
// the collector, with work in flight. Nothing crashes, hangs or is left behind.
func TestRandomLivesEndWell(t *testing.T) {
	checkLeaks(t)
	lives := lifecycles(t)
	seed := time.Now().UnixNano()
	t.Logf("%d lives, seed %d", lives, seed)
	s, address := startSender(t, &replication.SenderConfig{MaxReaders: 4096})
	stop := make(chan struct{})
	var background sync.WaitGroup
	background.Add(1)
	go func() { // work in flight for every receiver
		defer background.Done()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				_, _ = s.Append(1, make([]byte, 100))
			}
		}
	}()
	const workers = 8
	var group sync.WaitGroup
	for w := 0; w < workers; w++ {
		random := rand.New(rand.NewSource(seed + int64(w)))
		id := fmt.Sprintf("worker-%d", w)
		share := lives / workers
		if w < lives%workers {
			share++
		}
		group.Add(1)
		go func() {
			defer group.Done()
			for i := 0; i < share && !t.Failed(); i++ {
				if i%16 == 0 {
					runtime.GC() // for what finalizers close and the collector frees
				}
				if random.Intn(2) == 0 {
					senderLife(t, random)
				} else {
					receiverLife(t, random, s, address, id)
				}
			}
		}()
	}
	group.Wait()
	close(stop)
	background.Wait()
	// Go keeps the threads it once had: as many as calls of the library waited at once.
	if threads := len(entriesOf("/proc/self/task")); threads > 500 {
		t.Errorf("%d threads", threads)
	}
}

// A closer ends a life, in a way that it chooses when it is made.
type closer struct {
	cancel context.CancelFunc
	way    int
}

const (
	byItself = iota
	byMany
	inACallback
	byItsContext
	byAFinalizer
	byTheCollector
	ways
)

// An owner is a host's object whose finalizer closes what it has.
type owner struct{ close func() error }

func (c *closer) end(t *testing.T, close func() error, start bool) {
	expected := func(err error) {
		if err != nil && !errors.Is(err, replication.ErrTimeout) {
			t.Errorf("close: %v", err)
		}
	}
	switch c.way {
	case byMany:
		var group sync.WaitGroup
		for i := 0; i < 3; i++ {
			group.Add(1)
			go func() { defer group.Done(); expected(close()) }()
		}
		group.Wait()
	case byItsContext:
		c.cancel()
		expected(close())
	case byAFinalizer:
		runtime.SetFinalizer(&owner{close}, func(o *owner) { expected(o.close()) })
	case byTheCollector:
		if start {
			expected(close())
		}
	default: // also when no callback came
		expected(close())
	}
	c.cancel()
}

func senderLife(t *testing.T, random *rand.Rand) {
	ctx, cancel := context.WithCancel(context.Background())
	c := &closer{cancel: cancel, way: random.Intn(ways)}
	var s *replication.Sender
	var made sync.WaitGroup
	made.Add(1)
	s, err := replication.OpenSender(&replication.SenderConfig{
		StopTimeout: -1, IOThreads: 1,
		EventHandler: func(replication.Event) {
			made.Wait()
			if c.way == inACallback {
				_ = s.Close()
			}
		},
	})
	made.Done()
	if err != nil {
		t.Error(err)
		cancel()
		return
	}
	start := random.Intn(8) > 0
	if start {
		if err := s.Start(ctx); err != nil {
			t.Error(err)
		}
		steps := random.Intn(6)
		for i := 0; i < steps; i++ {
			senderStep(s, random.Intn(7))
		}
	}
	c.end(t, s.Close, start)
}

func senderStep(s *replication.Sender, what int) {
	switch what {
	case 0:
		_, _ = s.Append(1, []byte("x"))
	case 1:
		_, _ = s.AppendBatch(1, [][]byte{[]byte("x"), nil, []byte("y")})
	case 2:
		if port, err := s.Listen("127.0.0.1:0"); err == nil {
			if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
				_ = replication.WriteSync(conn, &replication.ReplicateSync{ReaderID: "guest"})
				conn.Close()
			}
		}
	case 3:
		ours, theirs := net.Pipe()
		if s.AcceptReader(theirs, "piped", 0) != nil {
			theirs.Close()
		}
		go func() { _, _, _ = replication.ReadMessage(ours); ours.Close() }()
	case 4:
		token, _ := s.AppendToken(1, nil)
		_ = s.OnAcked(token, replication.AckApplied, replication.AnyReaders(1), -1, func(replication.AckResult) {
			_ = s.Stats()
		})
	case 5:
		sequence, _ := s.Append(1, nil)
		go func() { _, _ = s.WaitAcked(context.Background(), sequence, replication.AckApplied, 1) }()
	case 6:
		_ = s.Stats()
	}
}

func receiverLife(t *testing.T, random *rand.Rand, writer *replication.Sender, address, id string) {
	ctx, cancel := context.WithCancel(context.Background())
	c := &closer{cancel: cancel, way: random.Intn(ways)}
	var r *replication.Receiver
	var made sync.WaitGroup
	made.Add(1)
	fails := random.Intn(4) == 0
	handle := func() error {
		made.Wait()
		if c.way == inACallback {
			return r.Close()
		}
		if fails {
			panic("it fails")
		}
		return nil
	}
	cfg := &replication.ReceiverConfig{ReaderID: id, WriterAddr: address, AckInterval: time.Millisecond,
		EventHandler: func(e replication.Event) {
			if made.Wait(); c.way == inACallback && e.Sequence%2 == 0 {
				_ = r.Close()
			}
		}}
	switch random.Intn(3) {
	case 0:
		cfg.IngestHandler = replication.IngestHandlerFunc(func(context.Context, []byte) error { return handle() })
	case 1:
		cfg.BatchHandler = func(context.Context, []replication.ReplicateEntry) (int, error) { return 0, handle() }
	case 2:
		cfg.RecordHandler = func(context.Context, uint64, uint64, *replication.Records) error { return handle() }
	}
	if random.Intn(4) == 0 {
		cfg.Dial = func(context.Context, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			if err := writer.AcceptConnection(theirs); err != nil {
				theirs.Close()
				return nil, err
			}
			return ours, nil
		}
	}
	r, err := replication.OpenReceiver(cfg)
	made.Done()
	if err != nil {
		t.Error(err)
		cancel()
		return
	}
	start := random.Intn(8) > 0
	if start {
		if err := r.Start(ctx); err != nil {
			t.Error(err)
		}
		steps := random.Intn(5)
		for i := 0; i < steps; i++ {
			receiverStep(r, writer, random.Intn(7))
		}
	}
	c.end(t, r.Close, start)
}

func receiverStep(r *replication.Receiver, writer *replication.Sender, what int) {
	switch what {
	case 0:
		_ = r.Pause()
	case 1:
		_ = r.Resume()
	case 2:
		go func() { _ = r.WaitSequence(context.Background(), 1<<40) }()
	case 3:
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		_ = r.WaitSequence(ctx, 1)
	case 4:
		_ = r.Stats()
	case 5:
		_, _ = r.Token()
	case 6: // far enough to be connected
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		_ = r.WaitSequence(ctx, writer.CurrentSequence())
	}
}
