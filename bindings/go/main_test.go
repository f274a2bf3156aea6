package replication_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/libreplication/libreplication/bindings/go"
)

// patience is how long anything that must happen may take.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role))
	}
	if os.Getenv(replication.EnvLibrary) == "" {
		if built, err := filepath.Abs("../../build/lib/libreplication.so"); err == nil {
			os.Setenv(replication.EnvLibrary, built)
		}
	}
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close() // Go's poller has descriptors of its own, for good
	}
	before := resources()
	code := m.Run()
	if code == 0 {
		if err := settle(before); err != nil {
			fmt.Fprintln(os.Stderr, "left behind by the tests:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// A count of what a closed handle must not leave behind: descriptors and the library's threads of this process, and
// goroutines of this package.
type count struct{ descriptors, threads, goroutines int }

func resources() count {
	return count{len(entriesOf("/proc/self/fd")), libraryThreads(), bindingGoroutines()}
}

func entriesOf(dir string) []os.DirEntry {
	entries, _ := os.ReadDir(dir)
	return entries
}

// libraryThreads counts the threads with the library's names that block SIGTERM, as the library's do. A thread of Go's
// that one of those began has inherited its name.
func libraryThreads() int {
	n := 0
	for _, task := range entriesOf("/proc/self/task") {
		status, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/status")
		_, blocked, _ := strings.Cut(string(status), "\nSigBlk:\t")
		mask, _ := strconv.ParseUint(strings.SplitN(blocked, "\n", 2)[0], 16, 64)
		if strings.HasPrefix(string(status), "Name:\trepl-") && mask&(1<<(syscall.SIGTERM-1)) != 0 {
			n++
		}
	}
	return n
}

// bindingGoroutines counts the goroutines that this package, not its tests, has begun.
func bindingGoroutines() int {
	var text strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&text, 2)
	n := 0
	for _, stack := range strings.Split(text.String(), "\n\n") {
		_, creator, created := strings.Cut(stack, "\ncreated by ")
		if created && strings.HasPrefix(creator, "github.com/libreplication/libreplication/bindings/go.") {
			n++
		}
	}
	return n
}

// settle waits until no more is there than before.
func settle(before count) error {
	var now count
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		runtime.GC() // finalizers free what was dropped
		now = resources()
		if now.descriptors <= before.descriptors && now.threads <= before.threads && now.goroutines <= before.goroutines {
			return nil
		}
	}
	return fmt.Errorf("before %+v, now %+v", before, now)
}

// checkLeaks fails the test when something is left behind at its end.
func checkLeaks(t *testing.T) {
	t.Helper()
	before := resources()
	t.Cleanup(func() {
		if err := settle(before); err != nil && !t.Failed() {
			t.Error("left behind:", err)
		}
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen within %v", what, patience)
		}
	}
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// startSender starts a sender that is closed at the end of the test, and returns its address.
func startSender(t testing.TB, cfg *replication.SenderConfig) (*replication.Sender, string) {
	t.Helper()
	s, err := replication.OpenSender(cfg)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	must(t, s.Start(context.Background()))
	port, err := s.Listen("127.0.0.1:0")
	must(t, err)
	return s, fmt.Sprintf("127.0.0.1:%d", port)
}

func startReceiver(t testing.TB, cfg *replication.ReceiverConfig) *replication.Receiver {
	t.Helper()
	r, err := replication.OpenReceiver(cfg)
	must(t, err)
	t.Cleanup(func() { r.Close() })
	must(t, r.Start(context.Background()))
	return r
}

// An inbox is a handler that keeps what it gets.
type inbox struct {
	lock    sync.Mutex
	entries []replication.ReplicateEntry
}

func (i *inbox) apply(_ context.Context, entry *replication.ReplicateEntry) error {
	i.lock.Lock()
	defer i.lock.Unlock()
	if n := len(i.entries); n > 0 && i.entries[n-1].Sequence >= entry.Sequence {
		return fmt.Errorf("entry %d after entry %d", entry.Sequence, i.entries[n-1].Sequence)
	}
	i.entries = append(i.entries, *entry)
	return nil
}

func (i *inbox) payloads() []string {
	i.lock.Lock()
	defer i.lock.Unlock()
	texts := make([]string, len(i.entries))
	for n, entry := range i.entries {
		texts[n] = string(entry.Payload)
	}
	return texts
}

// follow is a configuration of a receiver that fills an inbox.
func follow(address, id string) (*replication.ReceiverConfig, *inbox) {
	got := &inbox{}
	return &replication.ReceiverConfig{
		ReaderID: id, WriterAddr: address, EntryHandler: got.apply, ReconnectInterval: 50 * time.Millisecond,
		AckInterval: 10 * time.Millisecond,
	}, got
}

func appendTexts(t testing.TB, s *replication.Sender, texts ...string) uint64 {
	t.Helper()
	var last uint64
	for _, text := range texts {
		sequence, err := s.Append(uint64(time.Now().UnixMicro()), []byte(text))
		must(t, err)
		last = sequence
	}
	return last
}

// An eventLog keeps events.
type eventLog struct {
	lock   sync.Mutex
	events []replication.Event
}

func (l *eventLog) add(event replication.Event) {
	l.lock.Lock()
	l.events = append(l.events, event)
	l.lock.Unlock()
}

// first returns the first event of a kind, waited for.
func (l *eventLog) first(t testing.TB, kind replication.EventKind) replication.Event {
	t.Helper()
	var found replication.Event
	eventually(t, "event "+kind.String(), func() bool {
		l.lock.Lock()
		defer l.lock.Unlock()
		for _, event := range l.events {
			if event.Kind == kind {
				found = event
				return true
			}
		}
		return false
	})
	return found
}

func dialTCP(t testing.TB, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}
