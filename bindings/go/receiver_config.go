package replication

/*
#include "callbacks.h"
*/
import "C"

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/rs/zerolog"
)

// A ReceiverConfig holds the options of a receiver. A reader id, the writer's address and exactly one of the four
// handlers are required; a LocalWAL alone may replace the handler. Every other option has a default, which its zero
// value selects. Handlers are called one at a time, on one thread of the library, which also calls Dial, the logger and
// the event handler.
type ReceiverConfig struct {
	// ReaderID is the name by which the writer knows this reader. A second connection with the same name replaces the
	// first.
	ReaderID string
	// WriterAddr is the writer's address: "host:port", "unix:/path" or "unix:@name", or several separated by commas.
	WriterAddr string
	// LocalWAL receives each entry before the handler does.
	LocalWAL WALWriter
	// IngestHandler receives the payloads of entries.
	IngestHandler IngestHandler
	// ReconnectInterval is the longest pause between two attempts to connect. Default 5 s.
	ReconnectInterval time.Duration
	// AckInterval is the interval at which a moving position is acknowledged. Default 100 ms.
	AckInterval time.Duration
	// Logger receives the library's log records. The zero Logger writes nothing.
	Logger zerolog.Logger
	// TLSConfig makes Go encrypt the connection. An empty ServerName means the host of WriterAddr. See also TLS.
	TLSConfig *tls.Config

	// EntryHandler receives entries with their sequences.
	EntryHandler EntryHandler
	// BatchHandler receives many entries per call.
	BatchHandler BatchHandler
	// BatchEntries is the most entries per batch. Default 1024. A batch never waits for more to arrive.
	BatchEntries int
	// RecordHandler receives entries with their records decoded.
	RecordHandler RecordHandler
	// EventHandler receives events.
	EventHandler func(Event)
	// LastSequence is the sequence of the last entry that the host applied. Default 0: the writer sends every entry.
	LastSequence uint64
	// Token is the host's position, as stored with its data. It replaces LastSequence.
	Token *Token
	// Protocol selects the protocol versions to speak.
	Protocol Protocol
	// CoordinatorHandshake selects the message types of a cluster coordinator.
	CoordinatorHandshake bool
	// GapPolicy is what happens if the writer's entries have a gap.
	GapPolicy GapPolicy
	// ApplyPolicy is what happens if the handler fails on an entry.
	ApplyPolicy ApplyPolicy
	// ApplyRetries is how often ApplyStop and ApplySkip retry.
	ApplyRetries uint32
	// HandlerDurable states that the handler makes an entry durable before it returns.
	HandlerDurable bool
	// ConnectTimeout is how long connecting and the handshake may take together. Default 5 s.
	ConnectTimeout time.Duration
	// HeartbeatInterval is the heartbeat interval of idle connections. Default 1 s.
	HeartbeatInterval time.Duration
	// PeerTimeout is how long the writer may be silent before it is disconnected. Default 10 s.
	PeerTimeout time.Duration
	// BufferBytes is how many bytes may be received and not yet applied, at least 65536. Default 4 MiB.
	BufferBytes uint64
	// MaxEpochJump is by how much the writer's epoch may rise at once. Default 2^60.
	MaxEpochJump uint64
	// MaxEntryBytes is the largest payload in bytes that the receiver accepts. Default 78643104, the largest possible.
	MaxEntryBytes uint64
	// RecordsMaxBytes is how many bytes of memory the records of one entry may use. Default 256 MiB.
	RecordsMaxBytes uint64
	// WriterIdentity says whom to take for the writer, besides what TLS checks: identities as docs/access.md describes them,
	// of which the peer must be one. Default: whoever answers.
	WriterIdentity string
	// Secret is what the receiver proves to its writer, and the writer to it; a writer that does not is not followed. Over TCP
	// it needs TLS, or PlainSecretsAllowed.
	Secret *Secret
	// PlainSecretsAllowed allows the secret on a TCP connection without TLS. There it proves who connected, and nothing of what
	// follows.
	PlainSecretsAllowed bool
	// TLS makes the library encrypt the connection, including one from Dial.
	TLS *ReceiverTLS
	// InsecurePermissionsAllowed allows a log directory or private key that other users may write to, and a key that they
	// may read, which are otherwise refused; an event reports it.
	InsecurePermissionsAllowed bool
	// Dial connects to the writer instead of the library. It is called with WriterAddr and a context that ends after
	// ConnectTimeout and with the receiver.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// WAL configures a log on disk for received entries. Default: none.
	WAL *ReceiverWAL
}

// ReceiverTLS names the PEM files, or holds the PEM itself, of a reader whose connections the library encrypts with
// TLS 1.3.
type ReceiverTLS struct {
	// CAFile holds the authorities of the writer's certificate.
	CAFile string
	// ServerName is the name in the writer's certificate. Default: the host of WriterAddr.
	ServerName string
	// CertificateFile holds this reader's certificate, then those up to the writer's authority; "" means none.
	CertificateFile string
	// KeyFile holds the key of the first certificate.
	KeyFile string
}

// A ReceiverWAL is a receiver's log on disk.
type ReceiverWAL struct {
	// Dir is the directory of the log, which is created if it does not exist.
	Dir string
	// Sync is when the log is synced.
	Sync SyncPolicy
	// SyncInterval and SyncBytes apply to SyncGroup. Defaults 5 ms and 1 MiB.
	SyncInterval time.Duration
	SyncBytes    uint64
	// SegmentBytes is the usual size of a log file. Default 64 MiB.
	SegmentBytes uint64
	// RetainBytes and RetainAge limit how much stays on disk after it is applied. Defaults 1 GiB and one day.
	RetainBytes uint64
	RetainAge   time.Duration
}

// build creates the library's configuration, which must be freed even on failure.
func (cfg *ReceiverConfig) build(hooks *hooks) (*C.replication_receiver_config, error) {
	c := C.lr_receiver_config_new()
	if c == nil {
		return nil, &Error{Status: ErrOutOfMemory, Op: "new receiver"}
	}
	b := &builder{op: "new receiver"}
	b.text("ReaderID", cfg.ReaderID, func(id *C.char) C.int32_t { return C.lr_receiver_config_set_reader_id(c, id) })
	b.text("WriterAddr", cfg.WriterAddr, func(addr *C.char) C.int32_t {
		return C.lr_receiver_config_set_writer_addr(c, addr)
	})
	b.duration("ReconnectInterval", cfg.ReconnectInterval, func(ms C.uint64_t) C.int32_t {
		return C.lr_receiver_config_set_reconnect_interval_ms(c, ms)
	})
	b.duration("AckInterval", cfg.AckInterval, func(ms C.uint64_t) C.int32_t {
		return C.lr_receiver_config_set_ack_interval_ms(c, ms)
	})
	b.duration("ConnectTimeout", cfg.ConnectTimeout, func(ms C.uint64_t) C.int32_t {
		return C.lr_receiver_config_set_connect_timeout_ms(c, ms)
	})
	b.duration("HeartbeatInterval", cfg.HeartbeatInterval, func(ms C.uint64_t) C.int32_t {
		return C.lr_receiver_config_set_heartbeat_interval_ms(c, ms)
	})
	b.duration("PeerTimeout", cfg.PeerTimeout, func(ms C.uint64_t) C.int32_t {
		return C.lr_receiver_config_set_peer_timeout_ms(c, ms)
	})
	b.number("BufferBytes", cfg.BufferBytes, func(n C.uint64_t) C.int32_t {
		return C.lr_receiver_config_set_buffer_bytes(c, n)
	})
	b.number("MaxEpochJump", cfg.MaxEpochJump, func(n C.uint64_t) C.int32_t {
		return C.lr_receiver_config_set_max_epoch_jump(c, n)
	})
	b.number("MaxEntryBytes", cfg.MaxEntryBytes, func(n C.uint64_t) C.int32_t {
		return C.lr_receiver_config_set_max_entry_bytes(c, n)
	})
	b.number("RecordsMaxBytes", cfg.RecordsMaxBytes, func(n C.uint64_t) C.int32_t {
		return C.lr_receiver_config_set_records_max_bytes(c, n)
	})
	b.set("Protocol", func() C.int32_t { return C.lr_receiver_config_set_protocol(c, C.uint32_t(cfg.Protocol)) })
	b.set("CoordinatorHandshake", func() C.int32_t {
		return C.lr_receiver_config_set_coordinator_handshake(c, C._Bool(cfg.CoordinatorHandshake))
	})
	// Set before the options that depend on it.
	b.set("InsecurePermissionsAllowed", func() C.int32_t {
		return C.lr_receiver_config_set_insecure_permissions_allowed(c, C._Bool(cfg.InsecurePermissionsAllowed))
	})
	if cfg.WriterIdentity != "" {
		identity := b.texts("WriterIdentity", cfg.WriterIdentity)
		defer identity.free()
		b.set("WriterIdentity", func() C.int32_t { return C.lr_receiver_config_set_writer_identity(c, identity.pointers[0]) })
	}
	if cfg.Secret != nil {
		b.secret("Secret", cfg.Secret, func(secret *C.replication_secret) C.int32_t {
			return C.lr_receiver_config_set_secret(c, secret)
		})
	}
	b.set("PlainSecretsAllowed", func() C.int32_t {
		return C.lr_receiver_config_set_plain_secrets_allowed(c, C._Bool(cfg.PlainSecretsAllowed))
	})
	b.set("GapPolicy", func() C.int32_t { return C.lr_receiver_config_set_gap_policy(c, C.uint32_t(cfg.GapPolicy)) })
	b.set("ApplyPolicy", func() C.int32_t {
		return C.lr_receiver_config_set_apply_policy(c, C.uint32_t(cfg.ApplyPolicy), C.uint32_t(cfg.ApplyRetries))
	})
	b.set("HandlerDurable", func() C.int32_t {
		return C.lr_receiver_config_set_handler_durable(c, C._Bool(cfg.HandlerDurable))
	})
	cfg.setPosition(b, c)
	if cfg.WAL != nil {
		cfg.WAL.set(b, c)
	}
	cfg.setConnection(b, c, hooks)
	cfg.setHandler(b, c, hooks)
	b.set("EventHandler", func() C.int32_t { return C.lr_set_receiver_event_handler(c, register(hooks)) })
	if level := logLevel(&cfg.Logger); level != 0 {
		b.set("Logger", func() C.int32_t { return C.lr_set_receiver_log_handler(c, level, register(hooks)) })
	}
	return c, b.err
}

func (cfg *ReceiverConfig) setPosition(b *builder, c *C.replication_receiver_config) {
	b.number("LastSequence", cfg.LastSequence, func(n C.uint64_t) C.int32_t {
		return C.lr_receiver_config_set_last_sequence(c, n)
	})
	if cfg.Token != nil {
		b.set("Token", func() C.int32_t {
			return C.lr_receiver_config_set_token(c, cfg.Token.pointer(), cfg.Token.length)
		})
	}
}

func (log *ReceiverWAL) set(b *builder, c *C.replication_receiver_config) {
	b.directory(log.Dir, func(path *C.char) C.int32_t { return C.lr_receiver_config_set_wal_dir(c, path) })
	b.sync(log.Sync, log.SyncInterval, log.SyncBytes, 5*time.Millisecond, func(policy C.uint32_t, ms, bytes C.uint64_t) C.int32_t {
		return C.lr_receiver_config_set_wal_sync(c, policy, ms, bytes)
	})
	b.number("WAL.SegmentBytes", log.SegmentBytes, func(n C.uint64_t) C.int32_t {
		return C.lr_receiver_config_set_wal_segment_bytes(c, n)
	})
	b.number("WAL.RetainBytes", log.RetainBytes, func(n C.uint64_t) C.int32_t {
		return C.lr_receiver_config_set_wal_retain_bytes(c, n)
	})
	b.duration("WAL.RetainAge", log.RetainAge, func(ms C.uint64_t) C.int32_t {
		return C.lr_receiver_config_set_wal_retain_ms(c, ms)
	})
}

func (cfg *ReceiverConfig) setConnection(b *builder, c *C.replication_receiver_config, hooks *hooks) {
	if cfg.TLS != nil && cfg.TLSConfig != nil {
		b.refuse("TLS", "TLS and TLSConfig exclude each other")
	}
	if cfg.TLS != nil {
		files := b.texts("TLS", cfg.TLS.CAFile, cfg.TLS.ServerName, cfg.TLS.CertificateFile, cfg.TLS.KeyFile)
		defer files.free()
		b.set("TLS", func() C.int32_t {
			return C.lr_receiver_config_set_tls(c, files.pointers[0], files.pointers[1], files.pointers[2], files.pointers[3])
		})
	}
	if cfg.TLSConfig != nil || cfg.Dial != nil {
		b.set("Dial", func() C.int32_t { return C.lr_set_connect_handler(c, register(hooks)) })
	}
}

// handlers returns how many handlers are set.
func (cfg *ReceiverConfig) handlers() int {
	handlers := 0
	for _, given := range []bool{
		cfg.IngestHandler != nil, cfg.EntryHandler != nil, cfg.BatchHandler != nil, cfg.RecordHandler != nil,
	} {
		if given {
			handlers++
		}
	}
	return handlers
}

// loggingOnly returns the configuration of a receiver for which an entry is applied once its LocalWAL has written it.
func (cfg *ReceiverConfig) loggingOnly() *ReceiverConfig {
	logging := *cfg
	logging.IngestHandler = IngestHandlerFunc(func(context.Context, []byte) error { return nil })
	return &logging
}

func (cfg *ReceiverConfig) setHandler(b *builder, c *C.replication_receiver_config, hooks *hooks) {
	if cfg.handlers() != 1 {
		b.refuse("handler", "exactly one of IngestHandler, EntryHandler, BatchHandler and RecordHandler must be set")
	}
	switch {
	case cfg.BatchHandler != nil && cfg.BatchEntries < 0:
		b.refuse("BatchEntries", "it is negative")
	case cfg.BatchHandler != nil:
		b.set("BatchHandler", func() C.int32_t {
			return C.lr_set_ingest_batch_handler(c, C.size_t(cfg.BatchEntries), register(hooks))
		})
	case cfg.RecordHandler != nil:
		b.set("RecordHandler", func() C.int32_t { return C.lr_set_record_handler(c, register(hooks)) })
	default:
		b.set("IngestHandler", func() C.int32_t { return C.lr_set_ingest_handler(c, register(hooks)) })
	}
	if cfg.LocalWAL != nil {
		b.set("LocalWAL", func() C.int32_t { return C.lr_set_local_wal(c, register(hooks)) })
	}
}
