package replication_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libreplication/libreplication/bindings/go"
)

const scenarioFile = "../../tests/scenarios/scenarios.json"

// What Go does not have of what a scenario may need: bytes are appended to what Go allocates, connections are net.Conns,
// and a Go process cannot fork without exec.
var notInGo = map[string]bool{"buffers": true, "descriptors": true, "fork": true}

// What Go has: some of it only when tests/scenarios/trouble.c is loaded with LD_PRELOAD, as `make test-go` does.
var (
	inGo        = map[string]bool{"messages": true, "records": true, "values": true}
	withTrouble = map[string]bool{"disk": true, "memory": true}
)

type scenarioList struct {
	Statuses    map[string]replication.Status
	EventKinds  map[string]replication.EventKind `json:"event_kinds"`
	LogLevels   map[string]int                   `json:"log_levels"`
	Unreachable []struct {
		Status    string
		EventKind string `json:"event_kind"`
		In        []string
		Why       string
	}
	Scenarios []struct {
		Name, What string
		Needs      []string
		Steps      []map[string]interface{}
	}
}

// What the scenarios have reached, by name.
type reached struct {
	statuses, eventKinds map[string]bool
	scenarios            int // that ran to their end, or need what Go does not have
}

func (r *reached) add(keys map[string]interface{}) {
	for _, key := range []string{"expect", "status"} {
		if name, named := keys[key].(string); named {
			r.statuses[name] = true
		}
	}
	if keys["do"] == "expect.event" {
		r.eventKinds[keys["kind"].(string)] = true
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
	seen := reached{statuses: map[string]bool{}, eventKinds: map[string]bool{}}
	hasTrouble := strings.Contains(os.Getenv("LD_PRELOAD"), "trouble.so")
	for _, scenario := range list.Scenarios {
		scenario := scenario
		t.Run(scenario.Name, func(t *testing.T) {
			for _, need := range scenario.Needs {
				switch {
				case notInGo[need]:
					seen.scenarios++
					t.Skipf("Go has no %s", need)
				case withTrouble[need] && !hasTrouble:
					t.Skipf("%s: make test-go loads what makes it", need)
				case !inGo[need] && !withTrouble[need]:
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
				seen.add(keys)
			}
			seen.scenarios++
		})
	}
	t.Run("whatever is not declared unreachable was reached", func(t *testing.T) {
		if seen.scenarios < len(list.Scenarios) {
			t.Skip("not every scenario ran")
		}
		list.checkReached(t, &seen)
	})
}

// checkReached compares what the scenarios have reached with what the list declares to be out of Go's reach.
func (l *scenarioList) checkReached(t *testing.T, seen *reached) {
	statuses, eventKinds := map[string]bool{}, map[string]bool{}
	for _, one := range l.Unreachable {
		for _, language := range one.In {
			if language == "go" {
				statuses[one.Status], eventKinds[one.EventKind] = true, true
			}
		}
	}
	for name := range l.Statuses {
		if seen.statuses[name] == statuses[name] {
			t.Errorf("status %s: reached %v, declared unreachable %v", name, seen.statuses[name], statuses[name])
		}
	}
	for name := range l.EventKinds {
		if seen.eventKinds[name] == eventKinds[name] {
			t.Errorf("event kind %s: reached %v, declared unreachable %v", name, seen.eventKinds[name], eventKinds[name])
		}
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

func (a *actor) option(name string) (uint64, error) {
	if a.sender != nil {
		return a.sender.Option(name)
	}
	return a.receiver.Option(name)
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
	case "token":
		r.runToken(s, what)
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
		case "file.append":
			file, err := os.OpenFile(filepath.Join(r.dir, s.text("path")), os.O_WRONLY|os.O_APPEND, 0)
			must(r.t, err)
			defer file.Close()
			_, err = file.Write(r.bytes(s.get("hex")))
			must(r.t, err)
		case "disk.set":
			r.setDisk(s.text("state"))
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

// setDisk makes and removes the files that tests/scenarios/trouble.c looks for.
func (r *runner) setDisk(state string) {
	known := state == "well"
	for _, each := range []string{"full", "broken"} {
		mark := filepath.Join(r.dir, "disk-is-"+each)
		if err := os.Remove(mark); err != nil && !os.IsNotExist(err) {
			r.failf("%v", err)
		}
		if state == each {
			must(r.t, os.WriteFile(mark, nil, 0o600))
			known = true
		}
	}
	if !known {
		r.failf("unknown state %q", state)
	}
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
