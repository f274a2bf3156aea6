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

// A SyncPolicy is when a log on disk is synced.
type SyncPolicy uint32

const (
	// SyncDefault is SyncGroup for a sender, with 5 ms and 1 MiB, and SyncAlways for a receiver.
	SyncDefault SyncPolicy = iota
	// SyncAlways syncs before Append returns in a sender, and before an entry is applied in a receiver.
	SyncAlways
	// SyncGroup syncs after an interval or a number of bytes, whichever comes first, and immediately if a call waits for
	// it.
	SyncGroup
	// SyncOS syncs when the operating system does, and if a call waits for it. It survives process crashes only, not those
	// of the machine.
	SyncOS
)

// A SenderConfig holds the options of a sender. The zero value of an option selects its default; negative durations and
// sizes are refused, except where noted. NewSender copies the configuration, so it may be changed and reused
// afterwards.
type SenderConfig struct {
	// BufferSize is the capacity of the buffer in entries. Default 10000.
	BufferSize int
	// WriteTimeout is how long a reader may accept no bytes before it is disconnected. Default 5 s.
	WriteTimeout time.Duration
	// Logger receives the library's log records. The zero Logger writes nothing.
	Logger zerolog.Logger

	// EventHandler receives events. It, the logger and the callbacks of OnAcked are called one at a time.
	EventHandler func(Event)
	// AuthorizeHandler decides about each connection after the access rules, and alone where there are none: it calls Authorize
	// or Refuse, before it returns or later. A connection for which it does not is refused after HandshakeTimeout.
	AuthorizeHandler func(AccessRequest)
	// BufferBytes is the capacity of the buffer in bytes, at least 65536. Default 64 MiB.
	BufferBytes uint64
	// FullPolicy is what happens to new entries if the buffer is full. Default FullCutOffSlowest.
	FullPolicy FullPolicy
	// FullWait is how long FullWait waits.
	FullWait time.Duration
	// HandshakeTimeout is how long the handshake of a new connection may take. Default 5 s.
	HandshakeTimeout time.Duration
	// HeartbeatInterval is the heartbeat interval of idle connections. Default 1 s.
	HeartbeatInterval time.Duration
	// MinHeartbeat is the shortest heartbeat interval that readers may request, from 10 ms to 60 s. Default 100 ms.
	MinHeartbeat time.Duration
	// PeerTimeout is how long a reader may be silent before it is disconnected. Default 10 s.
	PeerTimeout time.Duration
	// StopTimeout is how long Stop lets readers catch up; negative means not at all. Default 5 s.
	StopTimeout time.Duration
	// MaxReaders is how many readers may be connected at once. Default 1024.
	MaxReaders int
	// MaxHandshakes is how many connections may be in their handshake at once. Where this limit or one of the two below is
	// reached, the connection that has waited longest there is closed for the one that comes. Default 256.
	MaxHandshakes int
	// MaxHandshakesPerAddress is how many of them may come from one address; of IPv6, from one network of 64 bits. Default
	// 128.
	MaxHandshakesPerAddress int
	// MaxHandshakesPerNetwork is how many of them may come from one network: 24 bits of an IPv4 address, 48 of an IPv6
	// address. Default 192.
	MaxHandshakesPerNetwork int
	// MaxConnectionRatePerAddress is how many times in a second one address may connect, on average. Default: any number.
	MaxConnectionRatePerAddress int
	// IOThreads is the number of network threads. Default: one per two processors, at most four.
	IOThreads int
	// UnixSocketMode is the permissions of Unix sockets, whatever the umask. In the abstract namespace they decide which
	// peers are accepted. Default 0600.
	UnixSocketMode uint32
	// AccessRules say who may follow and what readers may do, as docs/access.md describes. Default: readers of this machine,
	// of the same user over a Unix socket, and with a certificate that names their id.
	AccessRules string
	// AccessFile has the rules instead; ReloadAccessFile reads it again.
	AccessFile string
	// TrustedNetwork allows everyone to follow who reaches the sender, if there are no rules.
	TrustedNetwork bool
	// Secrets are those by which readers may prove who they are. A name may have two. Over TCP they need TLS, or
	// PlainSecretsAllowed.
	Secrets []Secret
	// PlainSecretsAllowed allows secrets on TCP connections without TLS. There they prove who connected, and nothing of what
	// follows.
	PlainSecretsAllowed bool
	// LastSequence is the last entry before this process started; the first new entry gets the next sequence.
	LastSequence uint64
	// Token is the position after which a new log begins: one that a reader reached. It replaces LastSequence.
	Token *Token
	// TokenEpoch is the epoch of a sender with a Token. It must be above the token's to take over from another writer; 0
	// means the token's.
	TokenEpoch uint64
	// TLS encrypts the connections of Listen and AcceptConnection.
	TLS *SenderTLS
	// InsecurePermissionsAllowed allows a log directory or private key that other users may write to, and a key that they
	// may read, which are otherwise refused; an event reports it.
	InsecurePermissionsAllowed bool
	// Groups are groups of readers for a Quorum to name.
	Groups []Group
	// WriteGate sets when entries are accepted. Default: always.
	WriteGate *WriteGate
	// MaxPendingAcks is how many calls of OnAcked may be outstanding. Default 65536.
	MaxPendingAcks int
	// WAL configures the log on disk. Default: in memory only.
	WAL *SenderWAL
}

// SenderTLS names the PEM files, or holds the PEM itself, of a writer that encrypts its connections with TLS 1.3.
type SenderTLS struct {
	// CertificateFile holds this writer's certificate, then those up to the readers' authority.
	CertificateFile string
	// KeyFile holds the key of the first certificate.
	KeyFile string
	// ClientCAFile holds the authorities of the readers' certificates; "" means that readers need none.
	ClientCAFile string
	// CRLFile holds revocation lists, one of each authority; "" means that nothing is revoked.
	CRLFile string
}

// A Group names readers. An id that ends with * stands for all ids with that prefix.
type Group struct {
	Name      string
	ReaderIDs []string
}

// A WriteGate accepts entries only while enough connected readers are within a lag.
type WriteGate struct {
	// MinReaders is how many readers must be within the lag.
	MinReaders int
	// MaxLagEntries is how many of the last entries a reader may not have acknowledged; 0 means any number.
	MaxLagEntries uint64
	// MaxLag is how long an entry may stay unacknowledged; 0 means any time.
	MaxLag time.Duration
	// Level is what counts as acknowledged. Default AckReceived.
	Level AckLevel
	// Policy is what happens to entries while the gate is closed.
	Policy GatePolicy
	// MaxWait is how long GateSlow waits.
	MaxWait time.Duration
}

// A SenderWAL is a sender's log on disk.
type SenderWAL struct {
	// Dir is the directory of the log, which is created if it does not exist.
	Dir string
	// Sync is when the log is synced.
	Sync SyncPolicy
	// SyncInterval and SyncBytes apply to SyncGroup: the longest time and the most bytes between syncs. Defaults 5 ms and
	// 1 MiB.
	SyncInterval time.Duration
	SyncBytes    uint64
	// SegmentBytes is the usual size of a log file. Default 64 MiB.
	SegmentBytes uint64
	// RetainBytes and RetainAge limit how much stays on disk if no slot needs it. Defaults 1 GiB and one day.
	RetainBytes uint64
	RetainAge   time.Duration
	// SlotMaxBytes is how many bytes of the log a reader's slot may hold back. Default 8 GiB.
	SlotMaxBytes uint64
	// SlotExpiry is how long the slot of an absent reader is kept. Default one week.
	SlotExpiry time.Duration
	// Timeout is how long Append waits for the disk. Default 5 s.
	Timeout time.Duration
}

// build creates the library's configuration, which must be freed even on failure.
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
	b.count("MaxHandshakes", cfg.MaxHandshakes, func(n C.size_t) C.int32_t {
		return C.lr_sender_config_set_max_handshakes(c, n)
	})
	b.count("MaxHandshakesPerAddress", cfg.MaxHandshakesPerAddress, func(n C.size_t) C.int32_t {
		return C.lr_sender_config_set_max_handshakes_per_address(c, n)
	})
	b.count("MaxHandshakesPerNetwork", cfg.MaxHandshakesPerNetwork, func(n C.size_t) C.int32_t {
		return C.lr_sender_config_set_max_handshakes_per_network(c, n)
	})
	b.count("MaxConnectionRatePerAddress", cfg.MaxConnectionRatePerAddress, func(n C.size_t) C.int32_t {
		return C.lr_sender_config_set_max_connection_rate_per_address(c, C.uint32_t(within(int(n), 1<<31-1)))
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
	// Set before the options that depend on it.
	b.set("InsecurePermissionsAllowed", func() C.int32_t {
		return C.lr_sender_config_set_insecure_permissions_allowed(c, C._Bool(cfg.InsecurePermissionsAllowed))
	})
	cfg.setAccess(b, c)
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
		if cfg.TLS.CRLFile != "" {
			list := b.texts("TLS", cfg.TLS.CRLFile)
			defer list.free()
			b.set("TLS", func() C.int32_t { return C.lr_sender_config_set_tls_crl_file(c, list.pointers[0]) })
		}
	}
	if cfg.AuthorizeHandler != nil {
		b.set("AuthorizeHandler", func() C.int32_t { return C.lr_set_authorize_handler(c, register(hooks)) })
	}
	b.set("EventHandler", func() C.int32_t { return C.lr_set_sender_event_handler(c, register(hooks)) })
	if level := logLevel(&cfg.Logger); level != 0 {
		b.set("Logger", func() C.int32_t { return C.lr_set_sender_log_handler(c, level, register(hooks)) })
	}
	return c, b.err
}

func (cfg *SenderConfig) setAccess(b *builder, c *C.replication_sender_config) {
	if cfg.AccessRules != "" {
		text := b.texts("AccessRules", cfg.AccessRules)
		defer text.free()
		b.set("AccessRules", func() C.int32_t { return C.lr_sender_config_set_access_rules(c, text.pointers[0]) })
	}
	if cfg.AccessFile != "" {
		file := b.texts("AccessFile", cfg.AccessFile)
		defer file.free()
		b.set("AccessFile", func() C.int32_t { return C.lr_sender_config_set_access_file(c, file.pointers[0]) })
	}
	b.set("TrustedNetwork", func() C.int32_t {
		return C.lr_sender_config_set_trusted_network(c, C._Bool(cfg.TrustedNetwork))
	})
	for i := range cfg.Secrets {
		b.secret("Secrets", &cfg.Secrets[i], func(secret *C.replication_secret) C.int32_t {
			return C.lr_sender_config_add_secret(c, secret)
		})
	}
	b.set("PlainSecretsAllowed", func() C.int32_t {
		return C.lr_sender_config_set_plain_secrets_allowed(c, C._Bool(cfg.PlainSecretsAllowed))
	})
}

func (cfg *SenderConfig) setPosition(b *builder, c *C.replication_sender_config) {
	b.number("LastSequence", cfg.LastSequence, func(n C.uint64_t) C.int32_t {
		return C.lr_sender_config_set_last_sequence(c, n)
	})
	if cfg.Token != nil {
		b.set("Token", func() C.int32_t {
			return C.lr_sender_config_set_token(c, cfg.Token.pointer(), cfg.Token.length, C.uint64_t(cfg.TokenEpoch))
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

// directory sets the directory of a log, which is required.
func (b *builder) directory(dir string, f func(*C.char) C.int32_t) {
	if dir == "" {
		b.refuse("WAL.Dir", "a log on disk needs a directory")
	}
	b.text("WAL.Dir", dir, f)
}

// sync sets a sync policy; interval is the default of its interval.
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

// cArray copies C pointers into C's memory; the caller frees the array.
func cArray(pointers []*C.char) **C.char {
	array := (**C.char)(C.calloc(C.size_t(len(pointers))+1, C.size_t(unsafe.Sizeof(uintptr(0)))))
	copy(unsafe.Slice(array, len(pointers)), pointers)
	return array
}
