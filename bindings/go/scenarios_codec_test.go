package replication_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/libreplication/libreplication/bindings/go"
)

// runCodec writes and reads messages of protocol v1.
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
		s.check(replication.WriteMessage(&frame, byte(s.number("type", 0)), json.RawMessage(s.text("json"))))
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

// runRecords decodes payloads.
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
