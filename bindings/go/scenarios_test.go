package replication_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/libreplication/libreplication/bindings/go"
	"github.com/rs/zerolog"
)

const scenarioFile = "../../tests/scenarios/scenarios.json"

// What Go does not have of what a scenario may need: bytes are appended to what Go allocates, connections are net.Conns,
// and a Go process cannot fork without exec.
var notInGo = map[string]bool{"buffers": true, "descriptors": true, "fork": true}
var inGo = map[string]bool{"values": true}

type scenarioList struct {
	Statuses    map[string]replication.Status
	EventKinds  map[string]replication.EventKind `json:"event_kinds"`
	LogLevels   map[string]int                   `json:"log_levels"`
	Unreachable map[string]string
	Scenarios   []struct {
		Name, What string
		Needs      []string
		Steps      []map[string]interface{}
	}
}

func TestScenarios(t *testing.T) {
	text, err := os.ReadFile(scenarioFile)
	must(t, err)
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	decoder.DisallowUnknownFields()
	var list scenarioList
	must(t, decoder.Decode(&list))
	if len(list.Scenarios) == 0 {
		t.Fatal("no scenario")
	}
	for _, scenario := range list.Scenarios {
		scenario := scenario
		t.Run(scenario.Name, func(t *testing.T) {
			for _, need := range scenario.Needs {
				if notInGo[need] {
					t.Skipf("Go has no %s", need)
				}
				if !inGo[need] {
					t.Fatalf("unknown need %q", need)
				}
			}
			checkLeaks(t)
			r := &runner{t: t, list: &list, dir: t.TempDir(), actors: map[string]*actor{}, addresses: map[string]string{},
				peers: map[string]net.Conn{}, tokens: map[string]replication.Token{}, orders: map[string]chan replication.AckResult{},
				background: map[string]chan error{}}
			defer r.end()
			for i, keys := range scenario.Steps {
				r.at = fmt.Sprintf("step %d (%v)", i+1, keys["do"])
				s := &step{r: r, keys: keys, used: map[string]bool{"do": true}}
				r.run(s)
				s.checkUsed()
			}
		})
	}
}

// A runner plays one scenario.
type runner struct {
	t          *testing.T
	list       *scenarioList
	dir, at    string
	actors     map[string]*actor // senders and receivers
	addresses  map[string]string // of senders, also freed ones
	peers      map[string]net.Conn
	tokens     map[string]replication.Token
	orders     map[string]chan replication.AckResult
	background map[string]chan error
}

func (r *runner) failf(format string, arguments ...interface{}) {
	r.t.Helper()
	r.t.Fatalf("%s: %s", r.at, fmt.Sprintf(format, arguments...))
}

func (r *runner) end() {
	for _, peer := range r.peers {
		peer.Close()
	}
	for _, a := range r.actors {
		a.release()
	}
	for _, a := range r.actors {
		if a.receiver != nil {
			a.receiver.Close()
		}
	}
	for _, a := range r.actors {
		if a.sender != nil {
			a.sender.Close()
		}
	}
	for name := range r.background {
		r.t.Errorf("the background call %s was not joined", name)
	}
}

// An actor is a sender or a receiver, and what was heard of it.
type actor struct {
	sender   *replication.Sender
	receiver *replication.Receiver
	inbox    inbox
	records  []json.RawMessage
	events   eventLog
	logs     logLines
	held     chan struct{}
	opened   sync.Once
	stopped  chan error
	stopOnce sync.Once
	fails    map[uint64]int
}

func newActor() *actor {
	return &actor{held: make(chan struct{}), stopped: make(chan error, 1), fails: map[uint64]int{}}
}

func (a *actor) release() { a.opened.Do(func() { close(a.held) }) }

func (a *actor) stop() error {
	if a.sender != nil {
		return a.sender.Stop()
	}
	return a.receiver.Stop()
}

func (a *actor) token() (replication.Token, error) {
	if a.sender != nil {
		return a.sender.Token()
	}
	return a.receiver.Token()
}

func (a *actor) stats() map[string]interface{} {
	if a.sender != nil {
		return a.sender.Stats()
	}
	return a.receiver.Stats()
}

// take takes entries, all or none.
func (a *actor) take(records json.RawMessage, entries ...replication.ReplicateEntry) error {
	<-a.held
	for _, entry := range entries {
		if a.fails[entry.Sequence] > 0 {
			a.fails[entry.Sequence]--
			return errors.New("the scenario says so")
		}
	}
	for i := range entries {
		entry := entries[i]
		entry.Payload = append([]byte(nil), entry.Payload...)
		if err := a.inbox.apply(context.Background(), &entry); err != nil {
			return err
		}
	}
	if records != nil {
		a.inbox.lock.Lock()
		a.records = append(a.records, records)
		a.inbox.lock.Unlock()
	}
	return nil
}

// logLines keeps the level and the event of log records.
type logLines struct {
	lock  sync.Mutex
	lines []struct{ Level, Event string }
}

func (l *logLines) Write(line []byte) (int, error) {
	var record struct{ Level, Event string }
	if err := json.Unmarshal(line, &record); err != nil {
		return 0, err
	}
	l.lock.Lock()
	l.lines = append(l.lines, record)
	l.lock.Unlock()
	return len(line), nil
}

// A step and which of its keys were looked at.
type step struct {
	r    *runner
	keys map[string]interface{}
	used map[string]bool
}

func (s *step) checkUsed() {
	for key := range s.keys {
		if !s.used[key] {
			s.r.failf("unknown key %q", key)
		}
	}
}

func (s *step) get(key string) interface{} {
	s.used[key] = true
	return s.keys[key]
}

func (s *step) has(key string) bool {
	_, has := s.keys[key]
	return has
}

func (s *step) text(key string) string {
	text, _ := s.get(key).(string)
	return text
}

func (s *step) flag(key string) bool {
	flag, _ := s.get(key).(bool)
	return flag
}

func (s *step) number(key string, otherwise uint64) uint64 {
	if value := s.get(key); value != nil {
		return s.r.number(value)
	}
	return otherwise
}

func (r *runner) number(value interface{}) uint64 {
	n, err := strconv.ParseUint(fmt.Sprint(value), 10, 64)
	if err != nil {
		r.failf("%v", err)
	}
	return n
}

func (r *runner) bytes(text interface{}) []byte {
	decoded, err := hex.DecodeString(text.(string))
	if err != nil {
		r.failf("%v", err)
	}
	return decoded
}

func (s *step) actor() *actor {
	a := s.r.actors[s.text("on")]
	if a == nil {
		s.r.failf("nobody is called %q", s.text("on"))
	}
	return a
}

func statusOf(err error) replication.Status {
	var failed *replication.Error
	switch {
	case err == nil:
		return replication.StatusOK
	case errors.As(err, &failed):
		return failed.Status
	}
	return -1
}

func (s *step) status(key string) replication.Status {
	name := s.text(key)
	if name == "" {
		return replication.StatusOK
	}
	status, known := s.r.list.Statuses[name]
	if !known {
		s.r.failf("unknown status %q", name)
	}
	return status
}

// check compares how a call ended with what the step expects.
func (s *step) check(err error) {
	s.r.t.Helper()
	want, message := s.status("expect"), s.text("message")
	if got := statusOf(err); got != want {
		s.r.failf("%v instead of %v (%v)", got, want, err)
	}
	if message != "" && !strings.Contains(err.Error(), message) {
		s.r.failf("%q is not in %q", message, err)
	}
}

// call makes a call, here or in the background.
func (s *step) call(f func() error) {
	name := s.text("background")
	if name == "" {
		s.check(f())
		return
	}
	ended := make(chan error, 1)
	s.r.background[name] = ended
	go func() { ended <- f() }()
}

// until waits for what a step expects.
func (s *step) until(so func() (bool, string)) {
	var seen string
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		var ok bool
		if ok, seen = so(); ok {
			return
		}
		if time.Now().After(deadline) {
			s.r.failf("not within %v: %s", patience, seen)
		}
	}
}

func (s *step) timeout() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Duration(s.number("timeout_ms", 20000))*time.Millisecond)
}

func (s *step) level() replication.AckLevel {
	levels := map[string]replication.AckLevel{"RECEIVED": replication.AckReceived, "DURABLE": replication.AckDurable, "APPLIED": replication.AckApplied}
	level := levels[s.text("level")]
	if level == 0 {
		s.r.failf("unknown level")
	}
	return level
}

func payloadOf(sequence uint64, size int) []byte {
	payload := make([]byte, size)
	for i := range payload {
		payload[i] = byte(31*sequence + uint64(i))
	}
	return payload
}

const scenarioTime = 1700000000000000

func (r *runner) run(s *step) {
	verb := s.keys["do"].(string)
	switch kind, what, _ := strings.Cut(verb, "."); kind {
	case "sender":
		r.runSender(s, what)
	case "receiver":
		r.runReceiver(s, what)
	case "expect":
		r.runExpect(s, what)
	case "peer":
		r.runPeer(s, what)
	case "codec":
		r.runCodec(s, what)
	case "records":
		r.runRecords(s, what)
	default:
		switch verb {
		case "join":
			name := s.text("on")
			err := <-r.background[name]
			delete(r.background, name)
			s.check(err)
		case "status.names":
			r.checkNames()
		case "file.damage":
			r.damage(filepath.Join(r.dir, s.text("path")), int64(s.number("at", 0)))
		default:
			r.failf("unknown verb")
		}
	}
}

func (r *runner) damage(path string, at int64) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	must(r.t, err)
	defer file.Close()
	var one [1]byte
	_, err = file.ReadAt(one[:], at)
	must(r.t, err)
	one[0] ^= 0x40
	_, err = file.WriteAt(one[:], at)
	must(r.t, err)
}

func (r *runner) checkNames() {
	for name, status := range r.list.Statuses {
		if status.String() != name {
			r.failf("the status %d is %v, not %s", status, status, name)
		}
	}
	for name, kind := range r.list.EventKinds {
		if kind.String() != name {
			r.failf("the event kind %d is %v, not %s", kind, kind, name)
		}
	}
	if len(r.list.LogLevels) != 4 {
		r.failf("there are log levels that zerolog does not have")
	}
}

// ---- senders --------------------------------------------------------------------------------------------------------

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
	case "acked":
		_, err := w.Acked(s.number("sequence", 0), s.level(), int(s.number("readers", 0)))
		s.check(err)
	case "wait_quorum":
		ctx, cancel := s.timeout()
		defer cancel()
		var quorum replication.Quorum
		for _, condition := range s.get("quorum").([]interface{}) {
			pair := condition.([]interface{})
			group, _ := pair[0].(string)
			quorum = append(quorum, replication.Condition{Group: group, Readers: int(r.number(pair[1]))})
		}
		_, err := w.WaitAckedQuorum(ctx, s.number("sequence", 0), s.level(), quorum)
		s.check(err)
	case "on_acked":
		results := make(chan replication.AckResult, 1)
		timeout := time.Duration(s.number("timeout_ms", 20000)) * time.Millisecond
		_, err := w.OnAcked(s.number("sequence", 0), s.level(), int(s.number("readers", 0)), timeout,
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
	case "get_token":
		r.keepToken(s, a)
	case "stop":
		s.call(w.Stop)
	case "free":
		w.Close()
		delete(r.actors, s.text("on"))
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

func (r *runner) stream(list []interface{}) *replication.Stream {
	stream := &replication.Stream{Epoch: r.number(list[1])}
	copy(stream.ID[:], r.bytes(list[0]))
	return stream
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
	log := &replication.SenderLog{}
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
		case "stream":
			cfg.Stream = r.stream(list)
		case "last_sequence":
			cfg.LastSequence = r.number(value)
		case "token":
			cfg.Token, cfg.TokenEpoch = r.token(list[0]), r.number(list[1])
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
		case "log_dir":
			log.Dir = r.path(value)
			cfg.Log = log
		case "log_sync":
			log.Sync, log.SyncInterval, log.SyncBytes = syncPolicies[list[0]], r.duration(list[1]), r.number(list[2])
			return log.Sync != replication.SyncDefault
		case "log_segment_bytes":
			log.SegmentBytes = r.number(value)
		case "log_retain_bytes":
			log.RetainBytes = r.number(value)
		default:
			return false
		}
		return true
	})
	return cfg
}

// ---- receivers ------------------------------------------------------------------------------------------------------

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
	case "get_token":
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
		case "stream":
			cfg.Stream = r.stream(list)
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
		case "handler_durable":
			cfg.HandlerDurable = value.(bool)
		case "buffer_bytes":
			cfg.BufferBytes = r.number(value)
		case "heartbeat_interval_ms":
			cfg.HeartbeatInterval = r.duration(value)
		case "peer_timeout_ms":
			cfg.PeerTimeout = r.duration(value)
		case "tls":
			name, _ := list[1].(string)
			cfg.TLS = &replication.ReceiverTLS{CAFile: r.path(list[0]), ServerName: name, CertificateFile: r.path(list[2]), KeyFile: r.path(list[3])}
		case "log_dir":
			cfg.Log = &replication.ReceiverLog{Dir: r.path(value)}
		default:
			return false
		}
		return true
	})
	return cfg
}

// ---- what is expected -----------------------------------------------------------------------------------------------

func (r *runner) runExpect(s *step, what string) {
	if what == "acked" {
		results := r.orders[s.text("on")]
		select {
		case result := <-results:
			want := s.status("status")
			if got, _ := result.Err.(replication.Status); got != want {
				r.failf("%v instead of %v", got, want)
			}
		case <-time.After(patience):
			r.failf("the callback does not come")
		}
		return
	}
	a := s.actor()
	switch what {
	case "stopped_inside":
		select {
		case err := <-a.stopped:
			if got, want := statusOf(err), s.status("status"); got != want {
				r.failf("%v instead of %v", got, want)
			}
		case <-time.After(patience):
			r.failf("the handler was not called")
		}
	case "entries":
		want := r.expectedEntries(s)
		s.until(func() (bool, string) { return a.hasEntries(want) })
	case "payloads":
		var want []string
		for _, payload := range s.get("payloads").([]interface{}) {
			want = append(want, string(r.bytes(payload)))
		}
		s.until(func() (bool, string) {
			got := a.inbox.payloads()
			return reflect.DeepEqual(got, want), fmt.Sprintf("%q", got)
		})
	case "records":
		want := s.get("records")
		s.until(func() (bool, string) {
			a.inbox.lock.Lock()
			text, _ := json.Marshal(a.records)
			a.inbox.lock.Unlock()
			return reflect.DeepEqual(r.jsonValue(text), want), string(text)
		})
	case "get":
		want := s.get("equals")
		get := s.text("what")
		s.until(func() (bool, string) {
			got := fmt.Sprint(r.property(a, get))
			return got == fmt.Sprint(want), got
		})
	case "stat":
		path, least, want := s.text("path"), s.get("at_least"), s.get("equals")
		s.until(func() (bool, string) {
			value, found := lookUp(a.stats(), path)
			if !found {
				return false, "not there"
			}
			if least != nil {
				n, err := strconv.ParseFloat(fmt.Sprint(value), 64)
				return err == nil && n >= float64(r.number(least)), fmt.Sprint(value)
			}
			return fmt.Sprint(value) == fmt.Sprint(want), fmt.Sprint(value)
		})
	case "keys":
		path, keys := s.text("path"), s.get("keys").([]interface{})
		s.until(func() (bool, string) {
			value, _ := lookUp(a.stats(), path)
			object, _ := value.(map[string]interface{})
			for _, key := range keys {
				if _, found := object[key.(string)]; !found {
					return false, fmt.Sprintf("no %v in %v", key, object)
				}
			}
			return true, ""
		})
	case "event":
		r.expectEvent(s, a)
	case "log":
		level, event := strings.ToLower(s.text("level")), s.text("event")
		if _, known := r.list.LogLevels[strings.ToUpper(level)]; !known {
			r.failf("unknown level")
		}
		s.until(func() (bool, string) {
			a.logs.lock.Lock()
			defer a.logs.lock.Unlock()
			for _, line := range a.logs.lines {
				if line.Level == level && line.Event == event {
					return true, ""
				}
			}
			return false, fmt.Sprint(a.logs.lines)
		})
	default:
		r.failf("unknown verb")
	}
}

func (r *runner) jsonValue(text []byte) interface{} {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value interface{}
	if err := decoder.Decode(&value); err != nil {
		r.failf("%v", err)
	}
	if value == nil {
		return []interface{}{}
	}
	return value
}

func (r *runner) property(a *actor, name string) interface{} {
	switch name {
	case "current_sequence":
		return a.sender.CurrentSequence()
	case "reader_count":
		return a.sender.ReaderCount()
	case "last_sequence":
		return a.receiver.LastSequence()
	case "is_connected":
		return a.receiver.IsConnected()
	}
	r.failf("nothing is called %q", name)
	return nil
}

// lookUp follows a path of keys and indexes.
func lookUp(value interface{}, path string) (interface{}, bool) {
	if path == "" {
		return value, true
	}
	for _, key := range strings.Split(path, ".") {
		switch v := value.(type) {
		case map[string]interface{}:
			found := false
			if value, found = v[key]; !found {
				return nil, false
			}
		case []map[string]interface{}:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(v) {
				return nil, false
			}
			value = v[i]
		default:
			return nil, false
		}
	}
	return value, true
}

type expectedEntry struct {
	sequence uint64
	size     int
}

func (r *runner) expectedEntries(s *step) []expectedEntry {
	var expected []expectedEntry
	for _, part := range s.get("entries").([]interface{}) {
		run := part.([]interface{})
		size := 64
		if len(run) > 2 {
			size = int(r.number(run[2]))
		}
		for sequence := r.number(run[0]); sequence <= r.number(run[1]); sequence++ {
			expected = append(expected, expectedEntry{sequence, size})
		}
	}
	return expected
}

func (a *actor) hasEntries(want []expectedEntry) (bool, string) {
	a.inbox.lock.Lock()
	defer a.inbox.lock.Unlock()
	got := a.inbox.entries
	if len(got) != len(want) {
		return false, fmt.Sprintf("%d entries instead of %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Sequence != want[i].sequence || got[i].TimestampUS != scenarioTime ||
			!bytes.Equal(got[i].Payload, payloadOf(want[i].sequence, want[i].size)) {
			return false, fmt.Sprintf("entry %d is another", got[i].Sequence)
		}
	}
	return true, ""
}

func (r *runner) expectEvent(s *step, a *actor) {
	kind, known := r.list.EventKinds[s.text("kind")]
	if !known {
		r.failf("unknown kind")
	}
	least, status, sequence := s.number("at_least", 1), s.status("status"), s.number("sequence", 0)
	s.until(func() (bool, string) {
		a.events.lock.Lock()
		defer a.events.lock.Unlock()
		n := uint64(0)
		for _, event := range a.events.events {
			if event.Kind == kind && (!s.has("status") || event.Status == status) && (!s.has("sequence") || event.Sequence == sequence) {
				n++
			}
		}
		return n >= least, fmt.Sprintf("%d such events in %+v", n, a.events.events)
	})
}

// ---- peers ----------------------------------------------------------------------------------------------------------

func (r *runner) runPeer(s *step, what string) {
	name := s.text("on")
	if what == "connect" {
		conn, err := net.Dial("tcp", r.addresses[s.text("of")])
		must(r.t, err)
		r.peers[name] = conn
		return
	}
	peer := r.peers[name]
	if peer == nil {
		r.failf("no peer %q", name)
	}
	must(r.t, peer.SetDeadline(time.Now().Add(patience)))
	switch what {
	case "send":
		_, err := peer.Write(r.frame(s))
		must(r.t, err)
	case "receive":
		want := r.frame(s)
		got := make([]byte, len(want))
		n, err := io.ReadFull(peer, got)
		if !bytes.Equal(got, want) {
			r.failf("%q instead of %q (%v)", got[:n], want, err)
		}
	case "closed":
		if _, err := io.Copy(io.Discard, peer); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			r.failf("%v", err)
		}
	case "close":
		peer.Close()
		delete(r.peers, name)
	default:
		r.failf("unknown verb")
	}
}

func (r *runner) frame(s *step) []byte {
	if s.has("hex") {
		return r.bytes(s.get("hex"))
	}
	var frame bytes.Buffer
	must(r.t, replication.WriteMessage(&frame, byte(s.number("type", 0)), []byte(s.text("json"))))
	return frame.Bytes()
}

// ---- messages and records -------------------------------------------------------------------------------------------

func (r *runner) runCodec(s *step, what string) {
	var frame bytes.Buffer
	switch what {
	case "read":
		r.codecRead(s)
		return
	case "parse":
		text := []byte(s.text("json"))
		parsers := map[string]func() error{
			"entry":    func() error { _, err := replication.ParseEntry(text); return err },
			"ack":      func() error { _, err := replication.ParseAck(text); return err },
			"sync":     func() error { _, err := replication.ParseSync(text); return err },
			"sync_ack": func() error { _, err := replication.ParseSyncAck(text); return err },
			"error":    func() error { _, err := replication.ParseError(text); return err },
		}
		s.check(parsers[s.text("kind")]())
		return
	case "write":
		s.check(replication.WriteMessage(&frame, byte(s.number("type", 0)), []byte(s.text("json"))))
	case "entry":
		want := &replication.ReplicateEntry{Sequence: s.number("sequence", 0), TimestampUS: s.number("timestamp_us", 0)}
		if payload := s.get("payload"); payload != nil {
			want.Payload = r.bytes(payload)
		}
		must(r.t, replication.WriteEntry(&frame, want))
		got, err := replication.ParseEntry(r.parsed(s, replication.MsgReplicateEntry))
		must(r.t, err)
		if want.Payload == nil {
			want.Payload = []byte{}
		}
		r.same(got, want)
	case "ack":
		want := &replication.ReplicateAck{LastSequence: s.number("last_sequence", 0), ReaderID: s.text("reader_id")}
		must(r.t, replication.WriteAck(&frame, want))
		got, err := replication.ParseAck(r.parsed(s, replication.MsgReplicateAck))
		must(r.t, err)
		r.same(got, want)
	case "sync":
		want := &replication.ReplicateSync{ReaderID: s.text("reader_id"), LastKnownSequence: s.number("last_known_sequence", 0)}
		must(r.t, replication.WriteSync(&frame, want))
		got, err := replication.ParseSync(r.parsed(s, replication.MsgReplicateSync))
		must(r.t, err)
		r.same(got, want)
	case "sync_ack":
		want := &replication.ReplicateSyncAck{CurrentSequence: s.number("current_sequence", 0), CanResume: s.flag("can_resume"), Error: s.text("error")}
		must(r.t, replication.WriteSyncAck(&frame, want))
		got, err := replication.ParseSyncAck(r.parsed(s, replication.MsgReplicateSyncAck))
		must(r.t, err)
		r.same(got, want)
	case "error":
		want := &replication.ReplicateError{Code: s.text("code"), Message: s.text("text")}
		must(r.t, replication.WriteError(&frame, want))
		got, err := replication.ParseError(r.parsed(s, replication.MsgReplicateError))
		must(r.t, err)
		r.same(got, want)
	default:
		r.failf("unknown verb")
	}
	if want := r.bytes(s.get("hex")); !bytes.Equal(frame.Bytes(), want) {
		r.failf("wrote %q instead of %q", frame.Bytes(), want)
	}
}

func (r *runner) same(got, want interface{}) {
	if !reflect.DeepEqual(got, want) {
		r.failf("read %+v instead of %+v", got, want)
	}
}

// parsed reads the step's message.
func (r *runner) parsed(s *step, want byte) []byte {
	msgType, payload, err := replication.ReadMessage(bytes.NewReader(r.bytes(s.get("hex"))))
	must(r.t, err)
	if msgType != want {
		r.failf("type %#x instead of %#x", msgType, want)
	}
	return payload
}

// codecRead reads the bytes from a stream and from a buffer.
func (r *runner) codecRead(s *step) {
	message := r.bytes(s.get("hex"))
	wantType, wantJSON := byte(s.number("type", 0)), s.text("json")
	streamed, text, err := replication.ReadMessage(bytes.NewReader(message))
	s.check(err)
	buffered, inBuffer, consumed, err := replication.ParseMessage(message)
	s.check(err)
	if err != nil {
		return
	}
	if streamed != wantType || buffered != wantType || string(text) != wantJSON || string(inBuffer) != wantJSON {
		r.failf("read %#x %q and %#x %q", streamed, text, buffered, inBuffer)
	}
	if consumed != replication.HeaderSize+len(wantJSON) {
		r.failf("%d bytes were consumed", consumed)
	}
}

func (r *runner) runRecords(s *step, what string) {
	records, err := replication.ParseRecords(r.bytes(s.get("hex")))
	if err == nil {
		defer records.Close()
	}
	switch what {
	case "parse":
		want := s.get("records")
		s.check(err)
		if err != nil {
			return
		}
		text, err := records.JSON()
		must(r.t, err)
		if !reflect.DeepEqual(r.jsonValue(text), want) {
			r.failf("%s", text)
		}
	case "value":
		must(r.t, err)
		value, err := records.Get(int(s.number("row", 0)), s.text("key"))
		var got interface{}
		as, want := s.text("as"), s.get("value")
		if err == nil {
			switch as {
			case "bool":
				got, err = value.Bool()
			case "i64":
				got, err = value.Int64()
			case "u64":
				got, err = value.Uint64()
			case "f64":
				got, err = value.Float64()
			case "string":
				got, err = value.Text()
			default:
				r.failf("unknown type %q", as)
			}
		}
		s.check(err)
		if err == nil && fmt.Sprint(got) != fmt.Sprint(want) {
			r.failf("%v instead of %v", got, want)
		}
	default:
		r.failf("unknown verb")
	}
}
