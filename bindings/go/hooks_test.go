package replication

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// The library gives every handle back, once: then nothing holds the hooks any more. A handle that it kept would, and one
// that it gave back twice would panic.
func TestEveryHandleIsGivenBack(t *testing.T) {
	dir := t.TempDir()
	apply := IngestHandlerFunc(func(context.Context, []byte) error { return nil })
	dial := func(context.Context, string) (net.Conn, error) { return nil, os.ErrPermission }
	for name, use := range map[string]func() *hooks{
		"a sender that was used": func() *hooks {
			s := NewSender(&SenderConfig{})
			_ = s.Start(context.Background())
			for i := 0; i < 3; i++ {
				token, _ := s.AppendToken(0, nil)
				_ = s.OnAcked(token, AckReceived, AnyReaders(1), -1, func(AckResult) {})
				_ = s.OnAcked(Token{}, AckReceived, AnyReaders(1), -1, func(AckResult) {}) // refused
			}
			_ = s.Close()
			return s.hooks
		},
		"a sender that could not be made": func() *hooks {
			return NewSender(&SenderConfig{WAL: &SenderWAL{Dir: dir + "/no/such/directory"}}).hooks
		},
		"a receiver that was used": func() *hooks {
			r := NewReceiver(&ReceiverConfig{ReaderID: "r", WriterAddr: "127.0.0.1:1", IngestHandler: apply, Dial: dial, LocalWAL: noWAL{}})
			_ = r.Start(context.Background())
			_ = r.Close()
			return r.hooks
		},
		"a receiver that could not be made": func() *hooks {
			return NewReceiver(&ReceiverConfig{ReaderID: "r", WriterAddr: "nowhere", IngestHandler: apply, Dial: dial}).hooks
		},
	} {
		gone := make(chan struct{})
		func() { runtime.SetFinalizer(use(), func(*hooks) { close(gone) }) }()
		for deadline := time.Now().Add(20 * time.Second); ; {
			runtime.GC()
			select {
			case <-gone:
			case <-time.After(time.Millisecond):
				if time.Now().Before(deadline) {
					continue
				}
				t.Errorf("a handle of %s was not given back", name)
			}
			break
		}
	}
}

// What C calls lets no panic through: here that of a handle that is none.
func TestEveryCallbackRecovers(t *testing.T) {
	const none = 1<<31 - 1
	callbacks := map[string]func() bool{
		"lrRelease":     func() bool { lrRelease(none); return true },
		"lrEvent":       func() bool { lrEvent(none, nil); return true },
		"lrAuthorize":   func() bool { lrAuthorize(none, nil); return true },
		"lrLog":         func() bool { lrLog(none, 1, nil, nil); return true },
		"lrAcked":       func() bool { lrAcked(none, 0, 0); return true },
		"lrIngest":      func() bool { return Status(lrIngest(none, 1, 1, nil, 0)) == ErrPanic },
		"lrLocalWAL":    func() bool { return Status(lrLocalWAL(none, 1, nil, 0)) == ErrPanic },
		"lrIngestBatch": func() bool { return Status(lrIngestBatch(none, nil, 1, nil)) == ErrPanic },
		"lrRecord":      func() bool { return Status(lrRecord(none, 1, 1, nil)) == ErrPanic },
		"lrConnect":     func() bool { return lrConnect(none, nil) == -1 },
	}
	for name, call := range callbacks {
		func() {
			defer func() {
				if value := recover(); value != nil {
					t.Errorf("%s panics: %v", name, value)
				}
			}()
			if !call() {
				t.Errorf("%s does not say that it failed", name)
			}
		}()
	}
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	exported := 0
	for _, source := range sources {
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`(?m)^//export (\w+)$`).FindAllSubmatch(text, -1) {
			if exported++; callbacks[string(match[1])] == nil {
				t.Errorf("%s of %s is not tried", match[1], source)
			}
		}
	}
	if exported != len(callbacks) {
		t.Errorf("%d callbacks are exported, %d are tried", exported, len(callbacks))
	}
}

type noWAL struct{}

func (noWAL) AppendRaw([]byte) error { return nil }

// residentKB is the memory that this process has.
func residentKB(t *testing.T) (kb int) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "\nVmRSS:")
	if _, err := fmt.Sscan(after, &kb); err != nil {
		t.Fatal(err)
	}
	return kb
}

// A sender that kept what it had would keep its buffer, more than 256 KiB.
func TestClosedSendersAndReceiversGiveTheirMemoryBack(t *testing.T) {
	const rounds, allowedKB = 400, 50 * 1024
	payload := make([]byte, 64*1024)
	lives := func() {
		for i := 0; i < rounds; i++ {
			s := NewSender(&SenderConfig{IOThreads: 1})
			if err := s.Start(context.Background()); err != nil {
				t.Fatal(err)
			}
			port, err := s.Listen("127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			r := NewReceiver(&ReceiverConfig{ReaderID: "r", WriterAddr: fmt.Sprintf("127.0.0.1:%d", port),
				BatchHandler: func(context.Context, []ReplicateEntry) (int, error) { return 0, nil }})
			if err := r.Start(context.Background()); err != nil {
				t.Fatal(err)
			}
			n, err := s.AppendBatch(0, [][]byte{payload, payload, payload, payload, payload, payload})
			if err == nil {
				err = r.WaitSequence(context.Background(), n+5)
			}
			if err != nil {
				t.Fatal(err)
			}
			_ = r.Close()
			_ = s.Close()
		}
		runtime.GC()
	}
	lives()
	before := residentKB(t)
	lives()
	if grown := residentKB(t) - before; grown > allowedKB {
		t.Errorf("%d lives more took %d KiB", rounds, grown)
	}
}
