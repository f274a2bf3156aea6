package replication

/*
#include "callbacks.h"
*/
import "C"

import (
	"context"
	"encoding/json"
	"net"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/rs/zerolog"
)

// A Sender is the writer's end: it accepts entries and streams them to readers. Any goroutine may call any of its
// methods at any time.
//
// Close a sender when it is no longer needed. The garbage collector also frees a sender that was never started or was
// stopped, but not one that runs.
type Sender struct {
	hooks   *hooks
	handle  *handle
	logger  zerolog.Logger
	onEvent func(Event)
	// onAuthorize is called with each connection about which the host decides.
	onAuthorize func(AccessRequest)
	bridges     bridges
	life        life
	refused     refusals
}

// A ReaderConnection is the connection of a reader. It is opaque; Sender.Stats describes connections.
type ReaderConnection struct{ _ struct{} }

// NewSender creates a sender, which Start starts; a nil cfg selects all defaults. If it cannot be created, every method
// that can fail returns the reason; OpenSender returns it immediately.
func NewSender(cfg *SenderConfig) *Sender {
	if cfg == nil {
		cfg = &SenderConfig{}
	}
	s := &Sender{
		hooks:   &hooks{},
		logger:  cfg.Logger,
		onEvent: cfg.EventHandler, onAuthorize: cfg.AuthorizeHandler,
		bridges: bridges{writeTimeout: orDefault(cfg.WriteTimeout, 5*time.Second)},
	}
	s.handle = newSenderHandle(cfg, s.hooks)
	return s
}

// OpenSender creates a sender, which Start starts, or returns the reason why it cannot be created, such as a locked or
// damaged log.
func OpenSender(cfg *SenderConfig) (*Sender, error) {
	s := NewSender(cfg)
	return s, s.handle.err
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

func newSenderHandle(cfg *SenderConfig, hooks *hooks) *handle {
	if err := Load(); err != nil {
		return &handle{err: err}
	}
	config, err := cfg.build(hooks)
	defer C.lr_sender_config_free(config)
	var sender *C.replication_sender
	if err == nil {
		err = call("new sender", func() C.int32_t { return C.lr_sender_new(config, &sender) })
	}
	if err != nil {
		return &handle{err: err}
	}
	return newHandle(unsafe.Pointer(sender), func(p unsafe.Pointer) {
		C.lr_sender_free((*C.replication_sender)(p))
	})
}

func (s *Sender) use(op string, f func(*C.replication_sender) C.int32_t) error {
	return s.handle.use(op, func(p unsafe.Pointer) C.int32_t { return f((*C.replication_sender)(p)) })
}

// Start starts the sender. When the context ends, the sender stops as by Stop.
func (s *Sender) Start(ctx context.Context) error {
	return s.life.start(ctx,
		func() { s.hooks.sender.Store(s) },
		func() error {
			return s.use("start", func(p *C.replication_sender) C.int32_t { return C.lr_sender_start(p) })
		},
		func() { s.hooks.sender.Store(nil) },
		s.Stop)
}

// Stop refuses new entries, lets readers catch up for SenderConfig.StopTimeout and closes everything. On return no
// handler runs. Statistics remain available. Stopping twice is allowed. In a handler of this sender it returns
// ErrWrongThread; Close is allowed there.
//
// ErrTimeout means that the sender is stopped but some connected readers lack entries.
func (s *Sender) Stop() error {
	inside := s.hooks.inCallback()
	if !inside {
		s.life.end()
	}
	err := s.handle.stop(func(p unsafe.Pointer) C.int32_t { return C.lr_sender_stop((*C.replication_sender)(p)) })
	if inside {
		return err // it continues to run
	}
	s.bridges.finish()
	s.hooks.sender.Store(nil)
	return err
}

// Close stops the sender and frees it. Every later call returns ErrClosed. Closing twice is allowed. Called in a
// handler of this sender, it leaves this to another goroutine, which does it soon afterwards; no other handler begins.
func (s *Sender) Close() error {
	if s.hooks.inCallback() {
		s.hooks.sender.Store(nil) // no other callback begins
		s.life.closing.Do(func() { go s.close() })
		return nil
	}
	return s.close()
}

func (s *Sender) close() error {
	err := s.Stop()
	s.handle.close()
	return err
}

// Listen accepts readers at an address: "host:port", with port 0 for any free port, "unix:/path" or "unix:@name". It
// returns the port, or 0 for a Unix socket. It may be called for several addresses.
func (s *Sender) Listen(address string) (port int, err error) {
	var out C.uint16_t
	err = callWithText("listen", address, func(text *C.char) error {
		return s.use("listen", func(p *C.replication_sender) C.int32_t { return C.lr_sender_listen(p, text, &out) })
	})
	return int(out), err
}

// callWithText makes a call with a string in C's memory.
func callWithText(op, text string, f func(*C.char) error) error {
	s, err := newCString(text)
	if err != nil {
		err.(*Error).Op = op
		return err
	}
	defer s.free()
	return f(s.pointer)
}

// AcceptReader streams to a reader whose Sync message the host has read from the connection; the library sends the
// reply. An earlier connection of the same reader is closed. On success the sender owns the connection; otherwise the
// caller keeps it, unchanged. Connections without a descriptor, such as tls.Conn and net.Pipe, are read and written by
// two goroutines, which end with the connection.
func (s *Sender) AcceptReader(conn net.Conn, readerID string, lastKnownSequence uint64) error {
	return callWithText("accept reader", readerID, func(id *C.char) error {
		return s.accept("accept reader", conn, func(p *C.replication_sender, fd C.int) C.int32_t {
			return C.lr_sender_accept_reader(p, fd, id, C.uint64_t(lastKnownSequence))
		})
	})
}

// AcceptConnection serves a new connection, handshake included. Otherwise it is like AcceptReader.
func (s *Sender) AcceptConnection(conn net.Conn) error {
	return s.accept("accept connection", conn, func(p *C.replication_sender, fd C.int) C.int32_t {
		return C.lr_sender_accept_connection(p, fd)
	})
}

// AcceptReaderWithRights is like AcceptReader, for a reader of which the host knows what it may do, whatever the access rules
// say. Rights are added with |.
func (s *Sender) AcceptReaderWithRights(conn net.Conn, readerID string, lastKnownSequence uint64, rights Right) error {
	return callWithText("accept reader", readerID, func(id *C.char) error {
		return s.accept("accept reader", conn, func(p *C.replication_sender, fd C.int) C.int32_t {
			return C.lr_sender_accept_reader_with_rights(p, fd, id, C.uint64_t(lastKnownSequence), C.uint32_t(rights))
		})
	})
}

// AcceptConnectionWithRights is like AcceptConnection, with rights as for AcceptReaderWithRights.
func (s *Sender) AcceptConnectionWithRights(conn net.Conn, rights Right) error {
	return s.accept("accept connection", conn, func(p *C.replication_sender, fd C.int) C.int32_t {
		return C.lr_sender_accept_connection_with_rights(p, fd, C.uint32_t(rights))
	})
}

// An AccessRequest is a connection that asks to follow, about which the host decides with Authorize or Refuse.
type AccessRequest struct {
	// Ticket is what the answer names it by.
	Ticket uint64
	// ReaderID is the id that the reader claims.
	ReaderID string
	// Address is the peer's address.
	Address string
	// Identity is who the peer is, as far as the connection proves it, or "none".
	Identity string
	// StreamID is the stream that the reader's position belongs to, 16 bytes; nil if it names none.
	StreamID []byte
	// Epoch is the latest epoch that the reader has seen; 0 if it names none.
	Epoch uint64
	// Sequence is the last entry that the reader has.
	Sequence uint64
	// Rights is what it may have at most.
	Rights Right
	// TLS reports whether the connection is encrypted.
	TLS bool
	// Handed reports whether the host handed it over.
	Handed bool
}

// Authorize lets a connection follow about which AuthorizeHandler was asked, with those of the rights that the request had.
// It returns ErrNotFound if the connection waits no more.
func (s *Sender) Authorize(ticket uint64, rights Right) error {
	return s.use("authorize", func(p *C.replication_sender) C.int32_t {
		return C.lr_sender_authorize(p, C.uint64_t(ticket), C.uint32_t(rights), nil)
	})
}

// Refuse refuses it. The reason is for the event, not for the peer.
func (s *Sender) Refuse(ticket uint64, reason string) error {
	return callWithText("refuse", reason, func(text *C.char) error {
		return s.use("refuse", func(p *C.replication_sender) C.int32_t {
			return C.lr_sender_authorize(p, C.uint64_t(ticket), 0, text)
		})
	})
}

// AddSecret adds a secret by which readers may prove who they are. To replace one, add the new one, give it to the readers,
// and remove the old one. It returns ErrInvalidState for a third secret with one name.
func (s *Sender) AddSecret(secret Secret) error {
	made, err := secret.made("add secret")
	if err != nil {
		return err
	}
	defer freeSecret(made)
	return s.use("add secret", func(p *C.replication_sender) C.int32_t { return C.lr_sender_add_secret(p, made) })
}

// RemoveSecret removes the older secret with a name, or the only one. Readers that proved who they are by it are
// disconnected. It returns ErrNotFound if there is none.
func (s *Sender) RemoveSecret(name string) error {
	return callWithText("remove secret", name, func(text *C.char) error {
		return s.use("remove secret", func(p *C.replication_sender) C.int32_t {
			return C.lr_sender_remove_secret(p, text)
		})
	})
}

// SetAccessRules replaces the access rules. Readers that do not keep their rights are disconnected. An error names the line
// and column of a mistake, and changes nothing.
func (s *Sender) SetAccessRules(rules string) error {
	return callWithText("set access rules", rules, func(text *C.char) error {
		return s.use("set access rules", func(p *C.replication_sender) C.int32_t {
			return C.lr_sender_set_access_rules(p, text)
		})
	})
}

// ReloadAccessFile replaces the access rules with what their file has now.
func (s *Sender) ReloadAccessFile() error {
	return s.use("reload access file", func(p *C.replication_sender) C.int32_t {
		return C.lr_sender_reload_access_file(p)
	})
}

func (s *Sender) accept(op string, conn net.Conn, f func(*C.replication_sender, C.int) C.int32_t) error {
	if conn == nil {
		return invalid(op, "the connection is nil")
	}
	fd, done, err := descriptor(conn, &s.bridges)
	if err != nil {
		return &Error{Status: ErrBadDescriptor, Op: op, Err: err}
	}
	err = s.use(op, func(p *C.replication_sender) C.int32_t { return f(p, C.int(fd)) })
	done(err == nil)
	return err
}

// Replicate appends an entry to the log and sets entry.Sequence to its sequence, or to 0 if the entry was not accepted.
// In that case the logger, the statistics and events report the reason. Append returns it as an error.
func (s *Sender) Replicate(entry *ReplicateEntry) {
	if entry == nil {
		s.refused.log(&s.logger, invalid("replicate", "the entry is nil"))
		return
	}
	sequence, err := s.Append(entry.TimestampUS, entry.Payload)
	entry.Sequence = sequence
	if err != nil {
		s.refused.log(&s.logger, err)
	}
}

// Append appends an entry to the log and returns its sequence. Every reader receives the entries of concurrent calls in
// the order of their sequences. It does not wait for the network or a reader, except under FullWait and GateSlow, nor
// for the disk, except under SyncAlways. The payload is copied.
//
// On failure no sequence is used, with one exception: under SyncAlways the entry may be appended but its sync may fail,
// take too long or be cut short by Stop. Then Append returns the sequence together with the error, and WaitDurable
// reports its outcome later.
func (s *Sender) Append(timestampUS uint64, payload []byte) (uint64, error) {
	h := s.handle
	h.lock.RLock()
	if h.pointer == nil {
		err := h.missing("append")
		h.lock.RUnlock()
		return 0, err
	}
	result := C.lr_append(C.uintptr_t(uintptr(h.pointer)), C.uint64_t(timestampUS), bytesPointer(payload), C.size_t(len(payload)))
	h.lock.RUnlock()
	if result.status != 0 {
		return uint64(result.sequence), appendError("append", result)
	}
	return uint64(result.sequence), nil
}

func appendError(op string, result C.struct_lr_appended) error {
	defer C.free(unsafe.Pointer(result.message))
	return &Error{Status: Status(result.status), Op: op, Message: C.GoString(result.message)}
}

// AppendToken is like Append, and returns the entry's token, which identifies it also after a restart and at another node.
// The token is returned, too, where Append returns the sequence with an error; it is otherwise the zero Token then.
func (s *Sender) AppendToken(timestampUS uint64, payload []byte) (Token, error) {
	var token Token
	err := s.use("append", func(p *C.replication_sender) C.int32_t {
		return C.lr_sender_replicate_token(p, C.uint64_t(timestampUS), bytesPointer(payload), C.size_t(len(payload)),
			token.pointer(), token.room(), &token.length)
	})
	return token, err
}

// A batch holds the payloads of AppendBatch one after the other, so that C needs no array of pointers into Go's memory.
type batch struct {
	bytes   []byte
	lengths []C.size_t
}

var batches = sync.Pool{New: func() interface{} { return &batch{} }}

// keptBatch is the largest batch, in bytes, that is kept for reuse.
const keptBatch = 4 << 20

// AppendBatch appends entries with consecutive sequences, all of them or, on failure, none, and returns the sequence of
// the first. It makes one call into the library. Otherwise it is like Append.
func (s *Sender) AppendBatch(timestampUS uint64, payloads [][]byte) (uint64, error) {
	if len(payloads) == 0 {
		return 0, invalid("append batch", "it has no payload")
	}
	flat := batches.Get().(*batch)
	flat.bytes, flat.lengths = flat.bytes[:0], flat.lengths[:0]
	for _, payload := range payloads {
		flat.bytes = append(flat.bytes, payload...)
		flat.lengths = append(flat.lengths, C.size_t(len(payload)))
	}
	h := s.handle
	h.lock.RLock()
	if h.pointer == nil {
		err := h.missing("append batch")
		h.lock.RUnlock()
		return 0, err
	}
	result := C.lr_append_batch(C.uintptr_t(uintptr(h.pointer)), C.uint64_t(timestampUS), bytesPointer(flat.bytes),
		&flat.lengths[0], C.size_t(len(payloads)))
	h.lock.RUnlock()
	if cap(flat.bytes) <= keptBatch {
		batches.Put(flat)
	}
	if result.status != 0 {
		return uint64(result.sequence), appendError("append batch", result)
	}
	return uint64(result.sequence), nil
}

// RemoveReader disconnects a reader, which may connect again. It ignores a reader that is not connected; Disconnect
// reports it.
func (s *Sender) RemoveReader(readerID string) { _ = s.Disconnect(readerID) }

// Disconnect disconnects a reader, which may connect again. It returns ErrNotFound if the reader is not connected.
func (s *Sender) Disconnect(readerID string) error {
	return callWithText("disconnect", readerID, func(id *C.char) error {
		return s.use("disconnect", func(p *C.replication_sender) C.int32_t { return C.lr_sender_remove_reader(p, id) })
	})
}

// ReaderCount returns how many readers are connected.
func (s *Sender) ReaderCount() int {
	n := 0
	_ = s.use("reader count", func(p *C.replication_sender) C.int32_t {
		n = int(C.lr_sender_reader_count(p))
		return 0
	})
	return n
}

// CurrentSequence returns the last entry's sequence, or 0 if there is none.
func (s *Sender) CurrentSequence() uint64 {
	var sequence uint64
	_ = s.use("current sequence", func(p *C.replication_sender) C.int32_t {
		sequence = uint64(C.lr_sender_current_sequence(p))
		return 0
	})
	return sequence
}

// Token returns the position after the last entry.
func (s *Sender) Token() (Token, error) {
	var token Token
	err := s.use("token", func(p *C.replication_sender) C.int32_t {
		return C.lr_sender_token(p, token.pointer(), token.room(), &token.length)
	})
	return token, err
}

// SetTLS replaces the certificates of a sender that has TLS, for the connections that come. With recheck it disconnects
// readers whose certificate would not be accepted any more.
func (s *Sender) SetTLS(tls *SenderTLS, recheck bool) error {
	if tls == nil {
		return invalid("set TLS", "the files are nil")
	}
	return withTexts("set TLS", func(t []*C.char) error {
		return s.use("set TLS", func(p *C.replication_sender) C.int32_t {
			return C.lr_sender_set_tls(p, t[0], t[1], t[2], t[3], C._Bool(recheck))
		})
	}, tls.CertificateFile, tls.KeyFile, tls.ClientCAFile, tls.CRLFile)
}

// ReloadTLS reads the files of the certificates again. With recheck it disconnects readers as SetTLS does.
func (s *Sender) ReloadTLS(recheck bool) error {
	return s.use("reload TLS", func(p *C.replication_sender) C.int32_t {
		return C.lr_sender_reload_tls(p, C._Bool(recheck))
	})
}

// withTexts makes a call with strings in C's memory, of which an empty one is NULL.
func withTexts(op string, f func([]*C.char) error, given ...string) error {
	b := &builder{op: op}
	t := b.texts("a file", given...)
	defer t.free()
	if b.err != nil {
		return b.err
	}
	return f(t.pointers)
}

// SetOption changes an option of a sender that lives, by its name in docs/options.md.
func (s *Sender) SetOption(name string, value uint64) error {
	return callWithText("set option", name, func(name *C.char) error {
		return s.use("set option", func(p *C.replication_sender) C.int32_t {
			return C.lr_sender_set_option(p, name, C.uint64_t(value))
		})
	})
}

// Option returns the value of an option that SetOption takes.
func (s *Sender) Option(name string) (uint64, error) {
	var value C.uint64_t
	err := callWithText("option", name, func(name *C.char) error {
		return s.use("option", func(p *C.replication_sender) C.int32_t { return C.lr_sender_option(p, name, &value) })
	})
	return uint64(value), err
}

// SetWritable sets whether this node is the writer, as a new sender is. Otherwise it disconnects and refuses readers,
// and refuses entries, with ErrNotWriter.
func (s *Sender) SetWritable(writable bool) error {
	return s.use("set writable", func(p *C.replication_sender) C.int32_t {
		return C.lr_sender_set_writable(p, C._Bool(writable))
	})
}

// Stats returns the statistics. Later versions may add keys. docs/embedding.md describes them. Their types are:
//
//   - bool: flags, such as "running";
//   - uint64: sequences, epochs and lags, including "lag_ms" and "lag_bytes";
//   - int: numbers and limits of things ("buffer_size", "buffer_used", "reader_count", "wal_segments"), and
//     "protocol";
//   - int64: bytes, such as "buffer_bytes" and "wal_bytes", and counters: "errors" and every "total_...";
//   - float64: "connection_duration_sec";
//   - string: names, and times in RFC 3339;
//   - []map[string]interface{}: "readers".
//
// A value that does not exist is nil. If the sender could not be created or is closed, there is only "running", which
// is false.
func (s *Sender) Stats() map[string]interface{} {
	text, err := s.text("stats", func(p *C.replication_sender, out **C.char) C.int32_t {
		return C.lr_sender_stats_json(p, out)
	})
	if err == nil {
		var stats map[string]interface{}
		if stats, err = decodeStats(text); err == nil {
			return stats
		}
	}
	return map[string]interface{}{"running": false}
}

// text makes a call that returns a string, and frees that string.
func (s *Sender) text(op string, f func(*C.replication_sender, **C.char) C.int32_t) (string, error) {
	var out *C.char
	if err := s.use(op, func(p *C.replication_sender) C.int32_t { return f(p, &out) }); err != nil {
		return "", err
	}
	return takeText(out), nil
}

// WaitDurable waits until an entry is on this node's disk, whatever the sync policy. If the context's deadline passes,
// the error matches ErrTimeout and context.DeadlineExceeded.
func (s *Sender) WaitDurable(ctx context.Context, sequence uint64) error {
	_, err := wait(ctx, "wait durable", func(timeoutMS C.uint64_t) (int, error) {
		return 0, s.use("wait durable", func(p *C.replication_sender) C.int32_t {
			return C.lr_sender_wait_durable(p, C.uint64_t(sequence), timeoutMS)
		})
	})
	return err
}

// A Slot is the part of the log on disk that a reader needs.
type Slot struct {
	ReaderID  string `json:"reader_id"`
	Connected bool   `json:"connected"`
	// State is "held" or "lost".
	State     string `json:"state"`
	Sequence  uint64 `json:"sequence"`
	HeldBytes uint64 `json:"held_bytes"`
	MaxBytes  uint64 `json:"max_bytes"`
	// Updated is the time at which the slot was last used, in RFC 3339.
	Updated string `json:"updated"`
	// LostInSeconds is the number of seconds until the slot is lost at this rate; nil if it will not be lost.
	LostInSeconds *float64 `json:"lost_in_s"`
}

// Slots returns the readers' slots. It returns ErrInvalidState if there is no log on disk.
func (s *Sender) Slots() ([]Slot, error) {
	text, err := s.text("slots", func(p *C.replication_sender, out **C.char) C.int32_t {
		return C.lr_sender_slots_json(p, out)
	})
	if err != nil {
		return nil, err
	}
	return decodeSlots(text)
}

func decodeSlots(text string) ([]Slot, error) {
	var slots []Slot
	if err := json.Unmarshal([]byte(text), &slots); err != nil {
		return nil, &Error{Status: ErrDecodeFailed, Op: "slots", Err: err}
	}
	return slots, nil
}

// DropSlot drops the slot of a reader that will not come back. It returns ErrNotFound if there is none.
func (s *Sender) DropSlot(readerID string) error {
	return callWithText("drop slot", readerID, func(id *C.char) error {
		return s.use("drop slot", func(p *C.replication_sender) C.int32_t { return C.lr_sender_drop_slot(p, id) })
	})
}

func (s *Sender) handleEvent(event *Event) {
	if s.onEvent != nil {
		s.onEvent(*event)
	}
}

func (s *Sender) handleLog(level zerolog.Level, message string, fields map[string]interface{}) {
	s.logger.WithLevel(level).Fields(fields).Msg(message)
}

func (s *Sender) complain(err error, message string) { s.logger.Error().Err(err).Msg(message) }

// refusals limits the log records about entries that Replicate could not append: it logs the first of each second, with
// the number of those that were not logged.
type refusals struct {
	next     atomic.Int64 // the earliest time of the next log record, since started
	unlogged atomic.Int64
}

// started is measured with the monotonic clock: if the wall clock were set back, nothing would be logged for a long
// time.
var started = time.Now()

func (r *refusals) log(logger *zerolog.Logger, err error) {
	if suppressed, due := r.due(time.Since(started)); due {
		logger.Error().Err(err).Int64("suppressed", suppressed).Msg("an entry was not replicated")
	}
}

// due reports whether a refusal at this time is logged, and how many were suppressed since the last one that was.
func (r *refusals) due(now time.Duration) (suppressed int64, due bool) {
	next := r.next.Load()
	if int64(now) < next || !r.next.CompareAndSwap(next, int64(now+time.Second)) {
		r.unlogged.Add(1)
		return 0, false
	}
	return r.unlogged.Swap(0), true
}
