package replication

/*
#include "callbacks.h"
*/
import "C"

import (
	"time"
	"unsafe"

	"github.com/rs/zerolog"
)

// A SyncPolicy is when a log on disk is made durable.
type SyncPolicy uint32

const (
	// SyncDefault is SyncGroup at a sender, with 5 ms and 1 MiB, and SyncAlways at a receiver.
	SyncDefault SyncPolicy = iota
	// SyncAlways: at a sender before Append returns, at a receiver before an entry is applied.
	SyncAlways
	// SyncGroup: after a time or a number of bytes, whichever comes first, and at once when somebody waits for it.
	SyncGroup
	// SyncOS: when the operating system likes, and when somebody waits for it. Survives the end of the process, not of
	// the machine.
	SyncOS
)

// A SenderConfig has the options of a sender. Each at its zero value has its default, and durations and sizes that are
// negative are refused. What NewSender is given may be changed and used again afterwards.
type SenderConfig struct {
	// BufferSize is how many entries the buffer in memory holds at most. Default 10000.
	BufferSize int
	// WriteTimeout is how long a reader may take no byte before its connection is closed. Default 5 s.
	WriteTimeout time.Duration
	// Logger gets the library's log records. The zero Logger writes nothing.
	Logger zerolog.Logger

	// EventHandler hears of events, one at a time, together with the logger and the callbacks of OnAcked.
	EventHandler func(Event)
	// BufferBytes is how many bytes the buffer holds at most, at least 65536. Default 64 MiB.
	BufferBytes uint64
	// FullPolicy is what happens when the buffer is full. Default FullCutOffSlowest.
	FullPolicy FullPolicy
	// FullWait is how long FullWait waits.
	FullWait time.Duration
	// HandshakeTimeout is how long the handshake of a new connection may take. Default 5 s.
	HandshakeTimeout time.Duration
	// HeartbeatInterval is how often an idle connection says that it lives. Default 1 s.
	HeartbeatInterval time.Duration
	// MinHeartbeat is how often readers may want to hear something, at most: 10 ms to 60 s. Default 100 ms.
	MinHeartbeat time.Duration
	// PeerTimeout is how long a reader may be silent. Default 10 s.
	PeerTimeout time.Duration
	// StopTimeout is how long Stop lets readers catch up; negative: not at all. Default 5 s.
	StopTimeout time.Duration
	// MaxReaders is how many readers may be connected at once. Default 1024.
	MaxReaders int
	// IOThreads is how many threads serve the network. Default: one for each two processors, at most four.
	IOThreads int
	// UnixSocketMode are the permissions of Unix sockets, whatever the umask; of those in the abstract namespace, whose peers
	// are let in. Default 0600.
	UnixSocketMode uint32
	// Stream is the lineage that this writer continues. Default: a new one.
	Stream *Stream
	// LastSequence is the last entry before this process; the first entry gets the next number.
	LastSequence uint64
	// Token is where a sender begins whose log is new: after a position that a reader reached. It replaces Stream and
	// LastSequence.
	Token *Token
	// TokenEpoch is the epoch in which a sender with a Token writes, above the token's when it takes over from another
	// writer; 0: the token's.
	TokenEpoch uint64
	// TLS encrypts the connections of Listen and AcceptConnection.
	TLS *SenderTLS
	// InsecurePermissionsAllowed takes a log's directory or a private key that other users may change, or a key that they may
	// read, which is refused otherwise; an event says so.
	InsecurePermissionsAllowed bool
	// Groups name readers, for a Quorum.
	Groups []Group
	// WriteGate sets when entries are taken. Default: always.
	WriteGate *WriteGate
	// MaxPendingAcks is how many calls of OnAcked may be outstanding. Default 65536.
	MaxPendingAcks int
	// WAL keeps the log on disk. Default: in memory only.
	WAL *SenderWAL
}

// SenderTLS names the PEM files of a writer that encrypts its connections with TLS 1.3.
type SenderTLS struct {
	// CertificateFile has this writer's certificate, then those that lead to an authority of the readers.
	CertificateFile string
	// KeyFile has the key of the first certificate.
	KeyFile string
	// ClientCAFile has the authorities of the readers' certificates; "": readers need none.
	ClientCAFile string
}

// A Group names readers. An id that ends with * stands for every id that begins with what is before it.
type Group struct {
	Name      string
	ReaderIDs []string
}

// A WriteGate takes entries only while enough connected readers are within a lag.
type WriteGate struct {
	// MinReaders is how many.
	MinReaders int
	// MaxLagEntries is how many of the last entries they may not have acknowledged; 0: any number.
	MaxLagEntries uint64
	// MaxLag is how long an entry may be unacknowledged; 0: any time.
	MaxLag time.Duration
	// Level is what counts as acknowledged. Default AckReceived.
	Level AckLevel
	// Policy is what happens to entries while it is closed.
	Policy GatePolicy
	// MaxWait is how long GateSlow waits.
	MaxWait time.Duration
}

// A SenderWAL is a sender's log on disk.
type SenderWAL struct {
	// Dir is its directory, which is made if it is not there.
	Dir string
	// Sync is when it is made durable.
	Sync SyncPolicy
	// SyncInterval and SyncBytes are for SyncGroup: the longest time and the most bytes between two syncs. Default 5 ms
	// and 1 MiB.
	SyncInterval time.Duration
	SyncBytes    uint64
	// SegmentBytes is the usual size of a file. Default 64 MiB.
	SegmentBytes uint64
	// RetainBytes and RetainAge are what stays when no slot needs it. Default 1 GiB and a day.
	RetainBytes uint64
	RetainAge   time.Duration
	// SlotMaxBytes is how many bytes the slot of a reader may hold back. Default 8 GiB.
	SlotMaxBytes uint64
	// SlotExpiry is how long the slot of a reader is kept that does not come back. Default a week.
	SlotExpiry time.Duration
	// Timeout is how long Append waits for the disk. Default 5 s.
	Timeout time.Duration
}

// build makes the library's configuration, to be freed in any case.
func (cfg *SenderConfig) build(hooks *hooks) (*C.replication_sender_config, error) {
	c := C.lr_sender_config_new()
	if c == nil {
		return nil, &Error{Status: ErrOutOfMemory, Op: "new sender"}
	}
	b := &builder{op: "new sender"}
	b.count("BufferSize", cfg.BufferSize, func(n C.size_t) C.int32_t {
		return C.lr_sender_config_set_buffer_size(c, n)
	})
	b.number("BufferBytes", cfg.BufferBytes, func(n C.uint64_t) C.int32_t {
		return C.lr_sender_config_set_buffer_bytes(c, n)
	})
	b.duration("WriteTimeout", cfg.WriteTimeout, func(ms C.uint64_t) C.int32_t {
		return C.lr_sender_config_set_write_timeout_ms(c, ms)
	})
	b.duration("HandshakeTimeout", cfg.HandshakeTimeout, func(ms C.uint64_t) C.int32_t {
		return C.lr_sender_config_set_handshake_timeout_ms(c, ms)
	})
	b.duration("HeartbeatInterval", cfg.HeartbeatInterval, func(ms C.uint64_t) C.int32_t {
		return C.lr_sender_config_set_heartbeat_interval_ms(c, ms)
	})
	b.duration("MinHeartbeat", cfg.MinHeartbeat, func(ms C.uint64_t) C.int32_t {
		return C.lr_sender_config_set_min_heartbeat_ms(c, ms)
	})
	b.duration("PeerTimeout", cfg.PeerTimeout, func(ms C.uint64_t) C.int32_t {
		return C.lr_sender_config_set_peer_timeout_ms(c, ms)
	})
	if cfg.StopTimeout < 0 {
		b.set("StopTimeout", func() C.int32_t { return C.lr_sender_config_set_stop_timeout_ms(c, 0) })
	} else {
		b.duration("StopTimeout", cfg.StopTimeout, func(ms C.uint64_t) C.int32_t {
			return C.lr_sender_config_set_stop_timeout_ms(c, ms)
		})
	}
	b.count("MaxReaders", cfg.MaxReaders, func(n C.size_t) C.int32_t {
		return C.lr_sender_config_set_max_readers(c, n)
	})
	b.count("IOThreads", cfg.IOThreads, func(n C.size_t) C.int32_t {
		return C.lr_sender_config_set_io_threads(c, C.uint32_t(within(int(n), 1<<31-1)))
	})
	if cfg.UnixSocketMode != 0 {
		b.set("UnixSocketMode", func() C.int32_t {
			return C.lr_sender_config_set_unix_socket_mode(c, C.uint32_t(cfg.UnixSocketMode))
		})
	}
	b.count("MaxPendingAcks", cfg.MaxPendingAcks, func(n C.size_t) C.int32_t {
		return C.lr_sender_config_set_max_pending_acks(c, n)
	})
	if cfg.FullWait < 0 {
		b.refuse("FullWait", "it is negative")
	}
	b.set("FullPolicy", func() C.int32_t {
		return C.lr_sender_config_set_full_policy(c, C.uint32_t(cfg.FullPolicy), milliseconds(cfg.FullWait))
	})
	// Before what it allows.
	b.set("InsecurePermissionsAllowed", func() C.int32_t {
		return C.lr_sender_config_set_insecure_permissions_allowed(c, C._Bool(cfg.InsecurePermissionsAllowed))
	})
	cfg.setPosition(b, c)
	cfg.setReaders(b, c)
	if cfg.WAL != nil {
		cfg.WAL.set(b, c)
	}
	if cfg.TLS != nil {
		files := b.texts("TLS", cfg.TLS.CertificateFile, cfg.TLS.KeyFile, cfg.TLS.ClientCAFile)
		defer files.free()
		b.set("TLS", func() C.int32_t {
			return C.lr_sender_config_set_tls(c, files.pointers[0], files.pointers[1], files.pointers[2])
		})
	}
	b.set("EventHandler", func() C.int32_t { return C.lr_set_sender_event_handler(c, register(hooks)) })
	if level := logLevel(&cfg.Logger); level != 0 {
		b.set("Logger", func() C.int32_t { return C.lr_set_sender_log_handler(c, level, register(hooks)) })
	}
	return c, b.err
}

func (cfg *SenderConfig) setPosition(b *builder, c *C.replication_sender_config) {
	if cfg.Stream != nil {
		b.set("Stream", func() C.int32_t {
			return C.lr_sender_config_set_stream(c, bytesPointer(cfg.Stream.ID[:]), C.uint64_t(cfg.Stream.Epoch))
		})
	}
	b.number("LastSequence", cfg.LastSequence, func(n C.uint64_t) C.int32_t {
		return C.lr_sender_config_set_last_sequence(c, n)
	})
	if cfg.Token != nil {
		b.set("Token", func() C.int32_t {
			return C.lr_sender_config_set_token(c, bytesPointer(cfg.Token[:]), C.uint64_t(cfg.TokenEpoch))
		})
	}
}

func (cfg *SenderConfig) setReaders(b *builder, c *C.replication_sender_config) {
	for i := range cfg.Groups {
		group := &cfg.Groups[i]
		name := b.texts("Groups", group.Name)
		ids := b.texts("Groups", group.ReaderIDs...)
		b.set("Groups", func() C.int32_t {
			array := cArray(ids.pointers)
			defer C.free(unsafe.Pointer(array))
			return C.lr_sender_config_add_group(c, name.pointers[0], array, C.size_t(len(ids.pointers)))
		})
		name.free()
		ids.free()
	}
	gate := cfg.WriteGate
	if gate == nil {
		return
	}
	if gate.MinReaders < 0 || gate.MaxLag < 0 || gate.MaxWait < 0 {
		b.refuse("WriteGate", "a number is negative")
	}
	level := gate.Level
	if level == 0 {
		level = AckReceived
	}
	if gate.MinReaders == 0 {
		return
	}
	made := C.lr_replication_write_gate_new()
	if made == nil {
		b.refuse("WriteGate", "no memory")
		return
	}
	defer C.lr_replication_write_gate_free(made)
	b.set("WriteGate", func() C.int32_t {
		return C.lr_replication_write_gate_set_min_readers(made, C.size_t(gate.MinReaders))
	})
	b.set("WriteGate", func() C.int32_t {
		return C.lr_replication_write_gate_set_max_lag_entries(made, C.uint64_t(gate.MaxLagEntries))
	})
	b.set("WriteGate", func() C.int32_t {
		return C.lr_replication_write_gate_set_max_lag_ms(made, milliseconds(gate.MaxLag))
	})
	b.set("WriteGate", func() C.int32_t { return C.lr_replication_write_gate_set_level(made, C.uint32_t(level)) })
	b.set("WriteGate", func() C.int32_t {
		return C.lr_replication_write_gate_set_policy(made, C.uint32_t(gate.Policy), milliseconds(gate.MaxWait))
	})
	b.set("WriteGate", func() C.int32_t { return C.lr_sender_config_set_write_gate(c, made) })
}

func (log *SenderWAL) set(b *builder, c *C.replication_sender_config) {
	b.directory(log.Dir, func(path *C.char) C.int32_t { return C.lr_sender_config_set_wal_dir(c, path) })
	b.sync(log.Sync, log.SyncInterval, log.SyncBytes, 5*time.Millisecond, func(policy C.uint32_t, ms, bytes C.uint64_t) C.int32_t {
		return C.lr_sender_config_set_wal_sync(c, policy, ms, bytes)
	})
	b.number("WAL.SegmentBytes", log.SegmentBytes, func(n C.uint64_t) C.int32_t {
		return C.lr_sender_config_set_wal_segment_bytes(c, n)
	})
	b.number("WAL.RetainBytes", log.RetainBytes, func(n C.uint64_t) C.int32_t {
		return C.lr_sender_config_set_wal_retain_bytes(c, n)
	})
	b.duration("WAL.RetainAge", log.RetainAge, func(ms C.uint64_t) C.int32_t {
		return C.lr_sender_config_set_wal_retain_ms(c, ms)
	})
	b.number("WAL.SlotMaxBytes", log.SlotMaxBytes, func(n C.uint64_t) C.int32_t {
		return C.lr_sender_config_set_slot_max_bytes(c, n)
	})
	b.duration("WAL.SlotExpiry", log.SlotExpiry, func(ms C.uint64_t) C.int32_t {
		return C.lr_sender_config_set_slot_expiry_ms(c, ms)
	})
	b.duration("WAL.Timeout", log.Timeout, func(ms C.uint64_t) C.int32_t {
		return C.lr_sender_config_set_wal_timeout_ms(c, ms)
	})
}

// directory sets that of a log, which must have one.
func (b *builder) directory(dir string, f func(*C.char) C.int32_t) {
	if dir == "" {
		b.refuse("WAL.Dir", "a log on disk needs a directory")
	}
	b.text("WAL.Dir", dir, f)
}

// sync sets a sync policy; interval is the default of its time.
func (b *builder) sync(policy SyncPolicy, every time.Duration, bytes uint64, interval time.Duration,
	f func(policy C.uint32_t, ms, bytes C.uint64_t) C.int32_t) {
	if every < 0 {
		b.refuse("WAL.SyncInterval", "it is negative")
	}
	if every == 0 {
		every = interval
	}
	if bytes == 0 {
		bytes = 1 << 20
	}
	switch policy {
	case SyncDefault:
	case SyncAlways, SyncGroup, SyncOS:
		b.set("WAL.Sync", func() C.int32_t {
			return f(C.uint32_t(policy-SyncAlways), milliseconds(every), C.uint64_t(bytes))
		})
	default:
		b.refuse("WAL.Sync", "no such policy")
	}
}

// cArray copies pointers of C into C's memory, to be freed.
func cArray(pointers []*C.char) **C.char {
	array := (**C.char)(C.calloc(C.size_t(len(pointers))+1, C.size_t(unsafe.Sizeof(uintptr(0)))))
	copy(unsafe.Slice(array, len(pointers)), pointers)
	return array
}
