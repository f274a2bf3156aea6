package replication_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/libreplication/libreplication/bindings/go"
	"github.com/rs/zerolog"
)

// runSender makes a sender, or has one do something.
func (r *runner) runSender(s *step, what string) {
	if what == "new" {
		a := newActor()
		a.release()
		cfg := r.senderConfig(s)
		stopInside := s.flag("stop_inside")
		cfg.Logger = zerolog.New(&a.logs)
		cfg.EventHandler = func(event replication.Event) {
			a.events.add(event)
			if stopInside {
				a.stopOnce.Do(func() { a.stopped <- a.sender.Stop() })
			}
		}
		sender, err := replication.OpenSender(cfg)
		if err == nil {
			a.sender = sender
			r.actors[s.text("on")] = a
		} else {
			s.text("on")
		}
		s.check(err)
		return
	}
	a := s.actor()
	w := a.sender
	switch what {
	case "start":
		s.call(func() error { return w.Start(context.Background()) })
	case "listen":
		address := "127.0.0.1:0"
		if s.has("address") {
			address = strings.ReplaceAll(s.text("address"), "{tmp}", r.dir)
		} else if s.has("same_as") {
			address = r.addresses[s.text("same_as")]
		}
		port, err := w.Listen(address)
		if err == nil {
			if !strings.HasPrefix(address, "unix:") {
				address = fmt.Sprintf("127.0.0.1:%d", port)
			}
			r.addresses[s.text("on")] = address
		}
		s.check(err)
	case "accept_connection":
		ours, theirs := socketPair(r.t)
		s.check(w.AcceptConnection(theirs))
		r.peers[s.text("peer")] = ours
	case "replicate":
		count, size := s.number("count", 1), int(s.number("bytes", 64))
		s.call(func() error {
			for i := uint64(0); i < count; i++ {
				next := w.CurrentSequence() + 1
				sequence, err := w.Append(scenarioTime, payloadOf(next, size))
				if err != nil {
					return err
				}
				if sequence != next {
					return fmt.Errorf("sequence %d instead of %d", sequence, next)
				}
			}
			return nil
		})
	case "replicate_batch":
		count, size := s.number("count", 1), int(s.number("bytes", 64))
		next := w.CurrentSequence() + 1
		payloads := make([][]byte, count)
		for i := range payloads {
			payloads[i] = payloadOf(next+uint64(i), size)
		}
		first, err := w.AppendBatch(scenarioTime, payloads)
		if err == nil && first != next {
			r.failf("the batch begins at %d instead of %d", first, next)
		}
		s.check(err)
	case "replicate_hex":
		for _, payload := range s.get("payloads").([]interface{}) {
			_, err := w.Append(scenarioTime, r.bytes(payload))
			s.check(err)
		}
	case "remove_reader":
		s.call(func() error { return w.Disconnect(s.text("reader_id")) })
	case "set_writable":
		writable := s.flag("writable")
		s.call(func() error { return w.SetWritable(writable) })
	case "wait_acked":
		ctx, cancel := s.timeout()
		sequence, level, readers := s.number("sequence", 0), s.level(), int(s.number("readers", 0))
		s.call(func() error {
			defer cancel()
			_, err := w.WaitAcked(ctx, sequence, level, readers)
			return err
		})
	case "replicate_token":
		name := s.text("token")
		token, err := w.AppendToken(scenarioTime, payloadOf(w.CurrentSequence()+1, int(s.number("bytes", 64))))
		if err == nil {
			r.tokens[name] = token
		}
		s.check(err)
	case "acked":
		_, err := w.Acked(*r.token(s.get("token")), s.level(), r.quorum(s))
		s.check(err)
	case "wait_token":
		ctx, cancel := s.timeout()
		token, level, quorum := *r.token(s.get("token")), s.level(), r.quorum(s)
		s.call(func() error {
			defer cancel()
			_, err := w.WaitToken(ctx, token, level, quorum)
			return err
		})
	case "on_acked":
		results := make(chan replication.AckResult, 1)
		timeout := time.Duration(s.number("timeout_ms", 20000)) * time.Millisecond
		err := w.OnAcked(*r.token(s.get("token")), s.level(), r.quorum(s), timeout,
			func(result replication.AckResult) { results <- result })
		if order := s.text("order"); err == nil {
			r.orders[order] = results
		}
		s.check(err)
	case "wait_durable":
		ctx, cancel := s.timeout()
		defer cancel()
		s.check(w.WaitDurable(ctx, s.number("sequence", 0)))
	case "drop_slot":
		s.check(w.DropSlot(s.text("reader_id")))
	case "token":
		r.keepToken(s, a)
	case "add_secret":
		s.check(w.AddSecret(*secretOf(s.get("secret"))))
	case "remove_secret":
		s.check(w.RemoveSecret(s.text("name")))
	case "set_option":
		s.check(w.SetOption(s.text("name"), s.number("value", 0)))
	case "stop":
		s.call(w.Stop)
	case "free":
		w.Close()
		delete(r.actors, s.text("on"))
	default:
		r.failf("unknown verb")
	}
}

// quorum is the step's: a number of any readers, or numbers of groups.
func (r *runner) quorum(s *step) replication.Quorum {
	conditions, grouped := s.get("quorum").([]interface{})
	if !grouped {
		return replication.AnyReaders(int(s.number("readers", 0)))
	}
	var quorum replication.Quorum
	for _, condition := range conditions {
		pair := condition.([]interface{})
		group, _ := pair[0].(string)
		quorum = append(quorum, replication.Condition{Group: group, Readers: int(r.number(pair[1]))})
	}
	return quorum
}

func (r *runner) runToken(s *step, what string) {
	switch what {
	case "parse":
		name := s.text("token")
		token, err := replication.ParseTokenText(s.text("text"))
		if err == nil {
			r.tokens[name] = token
		}
		s.check(err)
	case "print":
		text, err := r.token(s.get("token")).Text()
		must(r.t, err)
		if want := s.text("text"); text != want {
			r.failf("%s instead of %s", text, want)
		}
	case "compare":
		order, err := r.token(s.get("first")).Compare(*r.token(s.get("second")))
		must(r.t, err)
		orders := map[string]replication.TokenOrder{
			"EQUAL": replication.TokenEqual, "BEFORE": replication.TokenBefore, "AFTER": replication.TokenAfter,
			"UNKNOWN": replication.TokenUnknown, "DIVERGED": replication.TokenDiverged,
		}
		if want, known := orders[s.text("order")]; !known || order != want {
			r.failf("%v instead of %v", order, want)
		}
	default:
		r.failf("unknown verb")
	}
}

func (r *runner) keepToken(s *step, a *actor) {
	token, err := a.token()
	if name := s.text("token"); err == nil {
		r.tokens[name] = token
	}
	s.check(err)
}

func socketPair(t *testing.T) (ours, theirs net.Conn) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	must(t, err)
	var conns [2]net.Conn
	for i, fd := range pair {
		file := os.NewFile(uintptr(fd), "pair")
		conns[i], err = net.FileConn(file)
		file.Close()
		must(t, err)
	}
	return conns[0], conns[1]
}

// options calls set for each option of a step's config, which knows it or fails.
func (s *step) options(set func(name string, value interface{}, list []interface{}) bool) {
	config, _ := s.get("config").(map[string]interface{})
	for name, value := range config {
		list, isList := value.([]interface{})
		if !isList {
			list = []interface{}{value}
		}
		if !set(name, value, list) {
			s.r.failf("unknown option %q", name)
		}
	}
}

func (r *runner) duration(value interface{}) time.Duration {
	return time.Duration(r.number(value)) * time.Millisecond
}

// path is a file in the temporary directory; null is none.
func (r *runner) path(value interface{}) string {
	if value == nil {
		return ""
	}
	return filepath.Join(r.dir, value.(string))
}

func (r *runner) token(name interface{}) *replication.Token {
	token, kept := r.tokens[name.(string)]
	if !kept {
		r.failf("no token %v", name)
	}
	return &token
}

var syncPolicies = map[interface{}]replication.SyncPolicy{
	"ALWAYS": replication.SyncAlways, "GROUP": replication.SyncGroup, "OS": replication.SyncOS,
}

func (r *runner) senderConfig(s *step) *replication.SenderConfig {
	cfg := &replication.SenderConfig{}
	log := &replication.SenderWAL{}
	s.options(func(name string, value interface{}, list []interface{}) bool {
		switch name {
		case "buffer_size":
			cfg.BufferSize = int(r.number(value))
		case "buffer_bytes":
			cfg.BufferBytes = r.number(value)
		case "full_policy":
			policies := map[interface{}]replication.FullPolicy{"CUT_OFF_SLOWEST": replication.FullCutOffSlowest,
				"REFUSE": replication.FullRefuse, "WAIT": replication.FullWait}
			policy, known := policies[list[0]]
			cfg.FullPolicy, cfg.FullWait = policy, r.duration(list[1])
			return known
		case "write_timeout_ms":
			cfg.WriteTimeout = r.duration(value)
		case "handshake_timeout_ms":
			cfg.HandshakeTimeout = r.duration(value)
		case "heartbeat_interval_ms":
			cfg.HeartbeatInterval = r.duration(value)
		case "peer_timeout_ms":
			cfg.PeerTimeout = r.duration(value)
		case "stop_timeout_ms":
			if cfg.StopTimeout = r.duration(value); cfg.StopTimeout == 0 {
				cfg.StopTimeout = -1
			}
		case "max_readers":
			cfg.MaxReaders = int(r.number(value))
		case "last_sequence":
			cfg.LastSequence = r.number(value)
		case "token":
			cfg.Token, cfg.TokenEpoch = r.token(list[0]), r.number(list[1])
		case "access_rules":
			cfg.AccessRules = value.(string)
		case "secrets":
			for _, secret := range list {
				cfg.Secrets = append(cfg.Secrets, *secretOf(secret))
			}
		case "plain_secrets_allowed":
			cfg.PlainSecretsAllowed = value.(bool)
		case "tls":
			cfg.TLS = &replication.SenderTLS{CertificateFile: r.path(list[0]), KeyFile: r.path(list[1]), ClientCAFile: r.path(list[2])}
		case "groups":
			for group, ids := range value.(map[string]interface{}) {
				g := replication.Group{Name: group}
				for _, id := range ids.([]interface{}) {
					g.ReaderIDs = append(g.ReaderIDs, id.(string))
				}
				cfg.Groups = append(cfg.Groups, g)
			}
		case "write_gate":
			levels := map[interface{}]replication.AckLevel{"RECEIVED": replication.AckReceived, "DURABLE": replication.AckDurable, "APPLIED": replication.AckApplied}
			policies := map[interface{}]replication.GatePolicy{"REFUSE": replication.GateRefuse, "SLOW": replication.GateSlow}
			policy, known := policies[list[4]]
			cfg.WriteGate = &replication.WriteGate{MinReaders: int(r.number(list[0])), MaxLagEntries: r.number(list[1]),
				MaxLag: r.duration(list[2]), Level: levels[list[3]], Policy: policy, MaxWait: r.duration(list[5])}
			return known && levels[list[3]] != 0
		case "max_pending_acks":
			cfg.MaxPendingAcks = int(r.number(value))
		case "wal_dir":
			log.Dir = r.path(value)
			cfg.WAL = log
		case "wal_sync":
			log.Sync, log.SyncInterval, log.SyncBytes = syncPolicies[list[0]], r.duration(list[1]), r.number(list[2])
			return log.Sync != replication.SyncDefault
		case "wal_segment_bytes":
			log.SegmentBytes = r.number(value)
		case "wal_retain_bytes":
			log.RetainBytes = r.number(value)
		case "slot_max_bytes":
			log.SlotMaxBytes = r.number(value)
		case "slot_expiry_ms":
			log.SlotExpiry = r.duration(value)
		default:
			return false
		}
		return true
	})
	return cfg
}

// runReceiver makes a receiver, or has one do something.
func (r *runner) runReceiver(s *step, what string) {
	if what == "new" {
		r.newReceiver(s)
		return
	}
	a := s.actor()
	switch what {
	case "start":
		s.call(func() error { return a.receiver.Start(context.Background()) })
	case "pause":
		s.call(a.receiver.Pause)
	case "resume":
		s.call(a.receiver.Resume)
	case "release":
		a.release()
	case "wait_sequence":
		ctx, cancel := s.timeout()
		sequence := s.number("sequence", 0)
		s.call(func() error {
			defer cancel()
			return a.receiver.WaitSequence(ctx, sequence)
		})
	case "wait_token":
		ctx, cancel := s.timeout()
		token := *r.token(s.get("token"))
		s.call(func() error {
			defer cancel()
			return a.receiver.WaitToken(ctx, token)
		})
	case "set_secret":
		s.check(a.receiver.SetSecret(secretOf(s.get("secret"))))
	case "set_option":
		s.check(a.receiver.SetOption(s.text("name"), s.number("value", 0)))
	case "token":
		r.keepToken(s, a)
	case "stop":
		s.call(a.receiver.Stop)
	case "free":
		a.release()
		a.receiver.Close()
		delete(r.actors, s.text("on"))
	default:
		r.failf("unknown verb")
	}
}

func (r *runner) newReceiver(s *step) {
	a := newActor()
	cfg := r.receiverConfig(s)
	if !s.flag("held") {
		a.release()
	}
	stopInside := s.flag("stop_inside")
	if fail, given := s.get("fail").(map[string]interface{}); given {
		a.fails[r.number(fail["sequence"])] = int(r.number(fail["times"]))
	}
	take := func(records json.RawMessage, entries ...replication.ReplicateEntry) error {
		if stopInside {
			a.stopOnce.Do(func() { a.stopped <- a.receiver.Stop() })
		}
		return a.take(records, entries...)
	}
	switch handler := s.text("handler"); handler {
	case "", "entry":
		cfg.EntryHandler = func(_ context.Context, entry *replication.ReplicateEntry) error { return take(nil, *entry) }
	case "batch":
		cfg.BatchEntries = 16
		cfg.BatchHandler = func(_ context.Context, entries []replication.ReplicateEntry) (int, error) {
			return 0, take(nil, entries...)
		}
	case "record":
		cfg.RecordHandler = func(_ context.Context, sequence, timestampUS uint64, records *replication.Records) error {
			text, err := records.JSON()
			if err != nil {
				return err
			}
			return take(text, replication.ReplicateEntry{Sequence: sequence, TimestampUS: timestampUS})
		}
	default:
		r.failf("unknown handler %q", handler)
	}
	cfg.Logger = zerolog.New(&a.logs)
	cfg.EventHandler = a.events.add
	receiver, err := replication.OpenReceiver(cfg)
	if err == nil {
		a.receiver = receiver
		r.actors[s.text("on")] = a
	}
	s.check(err)
}

func (r *runner) receiverConfig(s *step) *replication.ReceiverConfig {
	cfg := &replication.ReceiverConfig{ReaderID: s.text("on"), WriterAddr: r.addresses[s.text("of")],
		ReconnectInterval: 100 * time.Millisecond, AckInterval: 10 * time.Millisecond}
	s.options(func(name string, value interface{}, list []interface{}) bool {
		switch name {
		case "reader_id":
			cfg.ReaderID = value.(string)
		case "writer_addr":
			cfg.WriterAddr = value.(string)
		case "last_sequence":
			cfg.LastSequence = r.number(value)
		case "token":
			cfg.Token = r.token(value)
		case "protocol":
			protocols := map[interface{}]replication.Protocol{"AUTO": replication.ProtocolAuto, "V1": replication.ProtocolV1, "V2": replication.ProtocolV2}
			protocol, known := protocols[value]
			cfg.Protocol = protocol
			return known
		case "coordinator_handshake":
			cfg.CoordinatorHandshake = value.(bool)
		case "gap_policy":
			policies := map[interface{}]replication.GapPolicy{"REFUSE": replication.GapRefuse, "CONTINUE": replication.GapContinue}
			policy, known := policies[value]
			cfg.GapPolicy = policy
			return known
		case "apply_policy":
			policies := map[interface{}]replication.ApplyPolicy{"RETRY": replication.ApplyRetry, "STOP": replication.ApplyStop, "SKIP": replication.ApplySkip}
			policy, known := policies[list[0]]
			cfg.ApplyPolicy, cfg.ApplyRetries = policy, uint32(r.number(list[1]))
			return known
		case "secret":
			cfg.Secret = secretOf(value)
		case "plain_secrets_allowed":
			cfg.PlainSecretsAllowed = value.(bool)
		case "handler_durable":
			cfg.HandlerDurable = value.(bool)
		case "buffer_bytes":
			cfg.BufferBytes = r.number(value)
		case "max_epoch_jump":
			cfg.MaxEpochJump = r.number(value)
		case "heartbeat_interval_ms":
			cfg.HeartbeatInterval = r.duration(value)
		case "peer_timeout_ms":
			cfg.PeerTimeout = r.duration(value)
		case "tls":
			name, _ := list[1].(string)
			cfg.TLS = &replication.ReceiverTLS{CAFile: r.path(list[0]), ServerName: name, CertificateFile: r.path(list[2]), KeyFile: r.path(list[3])}
		case "wal_dir":
			cfg.WAL = &replication.ReceiverWAL{Dir: r.path(value)}
		default:
			return false
		}
		return true
	})
	return cfg
}

// secretOf makes a secret from its cluster, its name and a text with its bytes; nil from null.
func secretOf(value interface{}) *replication.Secret {
	if value == nil {
		return nil
	}
	list := value.([]interface{})
	return &replication.Secret{Cluster: list[0].(string), Name: list[1].(string), Bytes: []byte(list[2].(string))}
}
