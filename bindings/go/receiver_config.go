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

// A ReceiverConfig has the options of a receiver: a reader id, the writer's address and exactly one of the four
// handlers are required, or a LocalWAL alone. Each other option at its zero value has its default. Handlers are called one at a time, on one
// thread of the library, together with the connection's Dial, the logger and the event handler.
type ReceiverConfig struct {
	// ReaderID is the name under which the writer knows this reader. A second connection with it replaces the first.
	ReaderID string
	// WriterAddr is where the writer is: "host:port", "unix:/path" or "unix:@name", or several of them, separated by commas.
	WriterAddr string
	// LocalWAL gets each entry before the handler does.
	LocalWAL WALWriter
	// IngestHandler gets the payloads of entries.
	IngestHandler IngestHandler
	// ReconnectInterval is the longest pause between two attempts to connect. Default 5 s.
	ReconnectInterval time.Duration
	// AckInterval is how often a moving position is acknowledged. Default 100 ms.
	AckInterval time.Duration
	// Logger gets the library's log records. The zero Logger writes nothing.
	Logger zerolog.Logger
	// TLSConfig has Go encrypt the connection. Without a ServerName it is the host of WriterAddr. See also TLS.
	TLSConfig *tls.Config

	// EntryHandler gets entries with their sequence.
	EntryHandler EntryHandler
	// BatchHandler gets entries many at a time.
	BatchHandler BatchHandler
	// BatchEntries is how many entries a batch has at most. Default 1024. No batch waits for more than are there.
	BatchEntries int
	// RecordHandler gets entries with their records decoded.
	RecordHandler RecordHandler
	// EventHandler hears of events.
	EventHandler func(Event)
	// LastSequence is the last entry that the host has applied. Default 0: everything from the first entry.
	LastSequence uint64
	// Stream is the lineage that LastSequence belongs to. Default: that of the first writer.
	Stream *Stream
	// Token is where the host stands, as it was stored with the data. It replaces LastSequence and Stream.
	Token *Token
	// Protocol is which versions to speak.
	Protocol Protocol
	// CoordinatorHandshake uses the message types of a cluster coordinator.
	CoordinatorHandshake bool
	// GapPolicy is what happens when entries are missing.
	GapPolicy GapPolicy
	// ApplyPolicy is what happens to an entry that the handler does not take.
	ApplyPolicy ApplyPolicy
	// ApplyRetries is how often ApplyStop and ApplySkip try again.
	ApplyRetries uint32
	// HandlerDurable says that the handler makes an entry durable before it returns.
	HandlerDurable bool
	// ConnectTimeout is how long connecting and the handshake may take together. Default 5 s.
	ConnectTimeout time.Duration
	// HeartbeatInterval is how often an idle connection says that it lives. Default 1 s.
	HeartbeatInterval time.Duration
	// PeerTimeout is how long the writer may be silent. Default 10 s.
	PeerTimeout time.Duration
	// BufferBytes is how many bytes may be received and not yet applied, at least 65536. Default 4 MiB.
	BufferBytes uint64
	// MaxEpochJump is by how much the writer's epoch may rise at once. Default 2^60.
	MaxEpochJump uint64
	// MaxEntryBytes is the largest payload of an entry that is taken. Default 78643104, the largest possible.
	MaxEntryBytes uint64
	// RecordsMaxBytes is how much memory the records of one entry may take. Default 256 MiB.
	RecordsMaxBytes uint64
	// TLS has the library encrypt the connection, also one that Dial made.
	TLS *ReceiverTLS
	// InsecurePermissionsAllowed takes a log's directory or a private key that other users may change, or a key that they may
	// read, which is refused otherwise; an event says so.
	InsecurePermissionsAllowed bool
	// Dial connects to the writer in the host's way. It is called with WriterAddr and a context that ends after
	// ConnectTimeout and with the receiver.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// WAL keeps a log on disk of what is received. Default: none.
	WAL *ReceiverWAL
}

// ReceiverTLS names the PEM files of a reader whose connections the library encrypts with TLS 1.3.
type ReceiverTLS struct {
	// CAFile has the authorities of the writer's certificate.
	CAFile string
	// ServerName is who the writer's certificate must be for. Default: the host of WriterAddr.
	ServerName string
	// CertificateFile has this reader's certificate, then those that lead to an authority of the writer; "": none.
	CertificateFile string
	// KeyFile has the key of the first certificate.
	KeyFile string
}

// A ReceiverWAL is a receiver's log on disk.
type ReceiverWAL struct {
	// Dir is its directory, which is made if it is not there.
	Dir string
	// Sync is when it is made durable.
	Sync SyncPolicy
	// SyncInterval and SyncBytes are for SyncGroup. Default 5 ms and 1 MiB.
	SyncInterval time.Duration
	SyncBytes    uint64
	// SegmentBytes is the usual size of a file. Default 64 MiB.
	SegmentBytes uint64
	// RetainBytes and RetainAge are what stays once it is applied. Default 1 GiB and a day.
	RetainBytes uint64
	RetainAge   time.Duration
}

// build makes the library's configuration, to be freed in any case.
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
	// Before what it allows.
	b.set("InsecurePermissionsAllowed", func() C.int32_t {
		return C.lr_receiver_config_set_insecure_permissions_allowed(c, C._Bool(cfg.InsecurePermissionsAllowed))
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
	if cfg.Stream != nil {
		b.set("Stream", func() C.int32_t {
			return C.lr_receiver_config_set_stream(c, bytesPointer(cfg.Stream.ID[:]), C.uint64_t(cfg.Stream.Epoch))
		})
	}
	if cfg.Token != nil {
		b.set("Token", func() C.int32_t { return C.lr_receiver_config_set_token(c, bytesPointer(cfg.Token[:])) })
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

// handlers is how many of them are set.
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

// loggingOnly is the configuration of a receiver that is done with an entry when its LocalWAL has it.
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
