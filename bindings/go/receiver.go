package replication

/*
#include "callbacks.h"
*/
import "C"

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"time"
	"unsafe"

	"github.com/rs/zerolog"
)

// A Receiver is a reader's end: it follows one writer and passes its entries to a handler, in order, each once. Any
// goroutine may call any of its methods at any time.
//
// Close a receiver when it is no longer needed. The garbage collector also frees a receiver that was never started or
// was stopped, but not one that runs.
type Receiver struct {
	hooks    *hooks
	handle   *handle
	logger   zerolog.Logger
	onEvent  func(Event)
	localWAL WALWriter
	ingest   IngestHandler
	entry    EntryHandler
	applies  BatchHandler
	records  RecordHandler
	life     life
	failures failures
	bridges  bridges

	dialer         func(context.Context, string) (net.Conn, error)
	tls            *tls.Config
	connectTimeout time.Duration

	batch []ReplicateEntry // of the batch handler, reused
}

// NewReceiver creates a receiver, which Start starts. If it cannot be created, every method that can fail returns the
// reason; OpenReceiver returns it immediately.
func NewReceiver(cfg *ReceiverConfig) *Receiver {
	if cfg == nil {
		cfg = &ReceiverConfig{}
	}
	if cfg.LocalWAL != nil && cfg.handlers() == 0 {
		cfg = cfg.loggingOnly()
	}
	r := &Receiver{
		hooks:          &hooks{},
		logger:         cfg.Logger,
		onEvent:        cfg.EventHandler,
		localWAL:       cfg.LocalWAL,
		ingest:         cfg.IngestHandler,
		entry:          cfg.EntryHandler,
		applies:        cfg.BatchHandler,
		records:        cfg.RecordHandler,
		bridges:        bridges{writeTimeout: orDefault(cfg.PeerTimeout, 10*time.Second)},
		dialer:         cfg.Dial,
		tls:            cfg.TLSConfig,
		connectTimeout: orDefault(cfg.ConnectTimeout, 5*time.Second),
	}
	r.handle = newReceiverHandle(cfg, r.hooks)
	return r
}

// OpenReceiver creates a receiver, which Start starts, or returns the reason why it cannot be created.
func OpenReceiver(cfg *ReceiverConfig) (*Receiver, error) {
	r := NewReceiver(cfg)
	return r, r.handle.err
}

func newReceiverHandle(cfg *ReceiverConfig, hooks *hooks) *handle {
	if err := Load(); err != nil {
		return &handle{err: err}
	}
	config, err := cfg.build(hooks)
	defer C.lr_receiver_config_free(config)
	var receiver *C.replication_receiver
	if err == nil {
		err = call("new receiver", func() C.int32_t { return C.lr_receiver_new(config, &receiver) })
	}
	if err != nil {
		return &handle{err: err}
	}
	return newHandle(unsafe.Pointer(receiver), func(p unsafe.Pointer) {
		C.lr_receiver_free((*C.replication_receiver)(p))
	})
}

func (r *Receiver) use(op string, f func(*C.replication_receiver) C.int32_t) error {
	return r.handle.use(op, func(p unsafe.Pointer) C.int32_t { return f((*C.replication_receiver)(p)) })
}

// Start starts the receiver. When the context ends, the receiver stops as by Stop. It connects in the background. The
// handlers' context ends with this one and with the receiver.
func (r *Receiver) Start(ctx context.Context) error {
	return r.life.start(ctx,
		func() { r.hooks.receiver.Store(r) },
		func() error {
			return r.use("start", func(p *C.replication_receiver) C.int32_t { return C.lr_receiver_start(p) })
		},
		func() { r.hooks.receiver.Store(nil) },
		r.Stop)
}

// Stop disconnects, ends the context of the handlers and waits for a running one. On return no handler runs. Statistics
// remain available. Stopping twice is allowed. In a handler of this receiver it returns ErrWrongThread; Close is
// allowed there.
func (r *Receiver) Stop() error {
	inside := r.hooks.inCallback()
	if !inside {
		r.life.end()
	}
	err := r.handle.stop(func(p unsafe.Pointer) C.int32_t { return C.lr_receiver_stop((*C.replication_receiver)(p)) })
	if inside {
		return err // it continues to run
	}
	r.bridges.finish()
	r.hooks.receiver.Store(nil)
	return err
}

// Close stops the receiver and frees it. Every later call returns ErrClosed. Closing twice is allowed. Called in a
// handler of this receiver, it leaves this to another goroutine, which does it soon afterwards; no other handler
// begins.
func (r *Receiver) Close() error {
	if r.hooks.inCallback() {
		r.hooks.receiver.Store(nil) // no other callback begins
		r.life.closing.Do(func() { go r.close() })
		return nil
	}
	return r.close()
}

func (r *Receiver) close() error {
	err := r.Stop()
	r.handle.close()
	return err
}

// IsConnected reports whether a connection is established, handshake included.
func (r *Receiver) IsConnected() bool {
	connected := false
	_ = r.use("is connected", func(p *C.replication_receiver) C.int32_t {
		connected = bool(C.lr_receiver_is_connected(p))
		return 0
	})
	return connected
}

// LastSequence returns the last applied sequence.
func (r *Receiver) LastSequence() uint64 {
	var sequence uint64
	_ = r.use("last sequence", func(p *C.replication_receiver) C.int32_t {
		sequence = uint64(C.lr_receiver_last_sequence(p))
		return 0
	})
	return sequence
}

// Token returns the receiver's position. In a handler this is the position after the entries of the current call; store
// it in the same transaction, and each entry is applied exactly once, even after a crash. It returns ErrNotFound while
// the stream is unknown.
func (r *Receiver) Token() (Token, error) {
	var token Token
	err := r.use("token", func(p *C.replication_receiver) C.int32_t {
		return C.lr_receiver_token(p, token.pointer(), token.room(), &token.length)
	})
	return token, err
}

// BatchToken returns, in a BatchHandler, the position after the first entries of the batch. A handler that commits a part
// of a batch stores it with that part, and returns how many entries that was.
func (r *Receiver) BatchToken(applied int) (Token, error) {
	var token Token
	if applied < 0 {
		return token, invalid("batch token", "the number of entries is negative")
	}
	err := r.use("batch token", func(p *C.replication_receiver) C.int32_t {
		return C.lr_receiver_batch_token(p, C.size_t(applied), token.pointer(), token.room(), &token.length)
	})
	return token, err
}

// SetTLS replaces the certificates of a receiver that has TLS, for its next connection.
func (r *Receiver) SetTLS(tls *ReceiverTLS) error {
	if tls == nil {
		return invalid("set TLS", "the files are nil")
	}
	return withTexts("set TLS", func(t []*C.char) error {
		return r.use("set TLS", func(p *C.replication_receiver) C.int32_t {
			return C.lr_receiver_set_tls(p, t[0], t[1], t[2], t[3])
		})
	}, tls.CAFile, tls.ServerName, tls.CertificateFile, tls.KeyFile)
}

// SetSecret replaces the secret, for the next connection; nil means none.
func (r *Receiver) SetSecret(secret *Secret) error {
	var made *C.replication_secret
	if secret != nil {
		var err error
		if made, err = secret.made("set secret"); err != nil {
			return err
		}
		defer freeSecret(made)
	}
	return r.use("set secret", func(p *C.replication_receiver) C.int32_t { return C.lr_receiver_set_secret(p, made) })
}

// ReloadTLS reads the files of the certificates again, for the next connection.
func (r *Receiver) ReloadTLS() error {
	return r.use("reload TLS", func(p *C.replication_receiver) C.int32_t { return C.lr_receiver_reload_tls(p) })
}

// SetOption changes an option of a receiver that lives, by its name in docs/options.md.
func (r *Receiver) SetOption(name string, value uint64) error {
	return callWithText("set option", name, func(name *C.char) error {
		return r.use("set option", func(p *C.replication_receiver) C.int32_t {
			return C.lr_receiver_set_option(p, name, C.uint64_t(value))
		})
	})
}

// Option returns the value of an option that SetOption takes.
func (r *Receiver) Option(name string) (uint64, error) {
	var value C.uint64_t
	err := callWithText("option", name, func(name *C.char) error {
		return r.use("option", func(p *C.replication_receiver) C.int32_t { return C.lr_receiver_option(p, name, &value) })
	})
	return uint64(value), err
}

// WaitSequence waits until an entry is applied, so that a reader sees what was written before. If the context's
// deadline passes, the error matches ErrTimeout and context.DeadlineExceeded. If the apply policy stopped the receiver
// before the entry, it returns ErrApplyFailed, which wraps the handler's error.
func (r *Receiver) WaitSequence(ctx context.Context, sequence uint64) error {
	return r.wait(ctx, "wait sequence", func(p *C.replication_receiver, timeoutMS C.uint64_t) C.int32_t {
		return C.lr_receiver_wait_sequence(p, C.uint64_t(sequence), timeoutMS)
	})
}

// WaitToken is like WaitSequence, for the entry of a token: a host that got the token at the writer reads its writes here.
// It returns ErrLost if the entry is of another stream, or another one took its place at a fail-over, and
// ErrLineageChanged if that is no longer known.
func (r *Receiver) WaitToken(ctx context.Context, token Token) error {
	return r.wait(ctx, "wait token", func(p *C.replication_receiver, timeoutMS C.uint64_t) C.int32_t {
		return C.lr_receiver_wait_token(p, token.pointer(), token.length, timeoutMS)
	})
}

func (r *Receiver) wait(ctx context.Context, op string, f func(*C.replication_receiver, C.uint64_t) C.int32_t) error {
	_, err := wait(ctx, op, func(timeoutMS C.uint64_t) (int, error) {
		return 0, r.use(op, func(p *C.replication_receiver) C.int32_t { return f(p, timeoutMS) })
	})
	if failed, ok := err.(*Error); ok && failed.Status == ErrApplyFailed {
		failed.Err = r.failures.last()
	}
	return err
}

// Pause stops passing entries to the handler until Resume. On return no handler runs, unless it made the call.
func (r *Receiver) Pause() error {
	return r.use("pause", func(p *C.replication_receiver) C.int32_t { return C.lr_receiver_pause(p) })
}

// Resume ends a pause.
func (r *Receiver) Resume() error {
	return r.use("resume", func(p *C.replication_receiver) C.int32_t { return C.lr_receiver_resume(p) })
}

// Stats returns the statistics, with the types of Sender.Stats. Later versions may add keys. If the receiver could not
// be created or is closed, it has only "running" and "connected", which are false.
func (r *Receiver) Stats() map[string]interface{} {
	var out *C.char
	err := r.use("stats", func(p *C.replication_receiver) C.int32_t { return C.lr_receiver_stats_json(p, &out) })
	if err == nil {
		var stats map[string]interface{}
		if stats, err = decodeStats(takeText(out)); err == nil {
			return stats
		}
	}
	return map[string]interface{}{"running": false, "connected": false}
}

func (r *Receiver) applyEntry(entry *ReplicateEntry) error {
	if r.entry != nil {
		return r.entry(r.life.ctx, entry)
	}
	return r.ingest.ApplyReplicatedEntry(r.life.ctx, entry.Payload)
}

func (r *Receiver) applyBatch(entries []ReplicateEntry) (int, error) {
	return r.applies(r.life.ctx, entries)
}

func (r *Receiver) applyRecords(sequence, timestampUS uint64, records *Records) error {
	return r.records(r.life.ctx, sequence, timestampUS, records)
}

// dial connects to the writer and returns a descriptor for the library.
func (r *Receiver) dial(addr string) (int, error) {
	ctx, cancel := context.WithTimeout(r.life.ctx, r.connectTimeout)
	defer cancel()
	conn, err := r.connect(ctx, addr)
	if err != nil {
		return -1, err
	}
	if conn == nil {
		return -1, errors.New("Dial returned no connection")
	}
	fd, done, err := descriptor(conn, &r.bridges)
	if err != nil {
		conn.Close()
		return -1, err
	}
	done(true)
	return fd, nil
}

func (r *Receiver) connect(ctx context.Context, addr string) (conn net.Conn, err error) {
	if r.dialer != nil {
		conn, err = r.dialer(ctx, addr)
	} else if path := strings.TrimPrefix(addr, "unix:"); path != addr {
		conn, err = new(net.Dialer).DialContext(ctx, "unix", path)
	} else {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	if err != nil || conn == nil || r.tls == nil {
		return conn, err
	}
	config := r.tls
	if config.ServerName == "" && !config.InsecureSkipVerify {
		config = config.Clone()
		if config.ServerName, _, err = net.SplitHostPort(addr); err != nil {
			config.ServerName = "" // the handshake reports that there is none
		}
	}
	encrypted := tls.Client(conn, config)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return encrypted, nil
}

// handleEvent adds what only Go knows: the error of the handler or dialler, of which the library has only a number.
func (r *Receiver) handleEvent(event *Event) {
	event.Cause = r.cause(event.Kind, event.Status, event.Sequence)
	if event.Cause != nil {
		event.Message += ": " + event.Cause.Error()
	}
	if r.onEvent != nil {
		r.onEvent(*event)
	}
}

func (r *Receiver) cause(kind EventKind, status Status, sequence uint64) error {
	switch {
	case kind == EventApplyFailed, kind == EventEntrySkipped, kind == EventStopped:
		return r.failures.find(sequence)
	case kind == EventDisconnected && (status == ErrIO || status == ErrBadDescriptor):
		return r.failures.lastDial()
	}
	return nil
}

func (r *Receiver) handleLog(level zerolog.Level, message string, fields map[string]interface{}) {
	event := r.logger.WithLevel(level).Fields(fields)
	if kind, _ := fields["event"].(string); strings.HasPrefix(kind, "APPLY") || kind == "ENTRY_SKIPPED" || kind == "STOPPED" {
		if sequence, isNumber := fields["sequence"].(uint64); isNumber {
			event = event.AnErr("cause", r.failures.find(sequence))
		}
	}
	event.Msg(message)
}

func (r *Receiver) complain(err error, message string) { r.logger.Error().Err(err).Msg(message) }
