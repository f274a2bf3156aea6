package replication_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/libreplication/libreplication/bindings/go"
)

// runExpect waits for what is expected of a sender or receiver.
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
	case "option":
		value, err := a.option(s.text("name"))
		must(r.t, err)
		if want := s.number("equals", 0); value != want {
			r.failf("%d instead of %d", value, want)
		}
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

// runPeer has a plain socket do something.
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
	must(r.t, replication.WriteMessage(&frame, byte(s.number("type", 0)), json.RawMessage(s.text("json"))))
	return frame.Bytes()
}
