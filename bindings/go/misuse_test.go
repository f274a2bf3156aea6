package replication_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/libreplication/libreplication/bindings/go"
	"github.com/vmihailenco/msgpack/v5"
)

func TestOptionsThatAreRefused(t *testing.T) {
	checkLeaks(t)
	level := replication.AckLevel(9)
	for option, cfg := range map[string]replication.SenderConfig{
		"BufferSize":       {BufferSize: -1},
		"BufferBytes":      {BufferBytes: 1},
		"WriteTimeout":     {WriteTimeout: -time.Second},
		"FullPolicy":       {FullPolicy: 9},
		"FullWait":         {FullWait: -1},
		"IOThreads":        {IOThreads: 1 << 40},
		"Token":            {Token: &replication.Token{}},
		"TLS":              {TLS: &replication.SenderTLS{CertificateFile: "a\x00b"}},
		"Groups":           {Groups: []replication.Group{{Name: "empty"}}},
		"WriteGate":        {WriteGate: &replication.WriteGate{MinReaders: 1, Level: level}},
		"WAL.Dir":          {WAL: &replication.SenderWAL{}},
		"WAL.Sync":         {WAL: &replication.SenderWAL{Dir: "x", Sync: 9}},
		"WAL.SegmentBytes": {WAL: &replication.SenderWAL{Dir: "x", SegmentBytes: 1}},
	} {
		cfg := cfg
		s, err := replication.OpenSender(&cfg)
		if !errors.Is(err, replication.ErrInvalidArgument) || !strings.Contains(fmt.Sprint(err), option) {
			t.Errorf("%s: %v", option, err)
		}
		if again := s.Start(context.Background()); again != err {
			t.Errorf("%s: start: %v", option, again)
		}
		must(t, s.Stop())
		must(t, s.Close())
	}
	handler := replication.IngestHandlerFunc(func(context.Context, []byte) error { return nil })
	batch := func(context.Context, []replication.ReplicateEntry) (int, error) { return 0, nil }
	good := replication.ReceiverConfig{ReaderID: "r", WriterAddr: "127.0.0.1:1", IngestHandler: handler}
	for option, change := range map[string]func(*replication.ReceiverConfig){
		"reader_id":    func(c *replication.ReceiverConfig) { c.ReaderID = "" },
		"ReaderID":     func(c *replication.ReceiverConfig) { c.ReaderID = strings.Repeat("x", 256) },
		"handler":      func(c *replication.ReceiverConfig) { c.BatchHandler = batch },
		"exactly one":  func(c *replication.ReceiverConfig) { c.IngestHandler = nil },
		"BatchEntries": func(c *replication.ReceiverConfig) { c.IngestHandler, c.BatchHandler, c.BatchEntries = nil, batch, -1 },
		"AckInterval":  func(c *replication.ReceiverConfig) { c.AckInterval = -1 },
		"Protocol":     func(c *replication.ReceiverConfig) { c.Protocol = 7 },
		"GapPolicy":    func(c *replication.ReceiverConfig) { c.GapPolicy = 7 },
		"ApplyPolicy":  func(c *replication.ReceiverConfig) { c.ApplyPolicy = 7 },
	} {
		cfg := good
		change(&cfg)
		r, err := replication.OpenReceiver(&cfg)
		if !errors.Is(err, replication.ErrInvalidArgument) || !strings.Contains(err.Error(), option) {
			t.Errorf("%s: %v", option, err)
		}
		must(t, r.Close())
	}
	if _, err := replication.OpenReceiver(nil); !errors.Is(err, replication.ErrInvalidArgument) {
		t.Errorf("nil: %v", err)
	}
	bad := good
	bad.WriterAddr = "nowhere"
	if _, err := replication.OpenReceiver(&bad); !errors.Is(err, replication.ErrBadAddress) {
		t.Errorf("an address without a port: %v", err)
	}
}

func TestCallsAfterClose(t *testing.T) {
	checkLeaks(t)
	s, address := startSender(t, nil)
	cfg, _ := follow(address, "r")
	r := startReceiver(t, cfg)
	must(t, r.Close())
	must(t, r.Close())
	must(t, s.Close())
	must(t, s.Close())
	ctx := context.Background()
	_, appended := s.Append(0, nil)
	_, batch := s.AppendBatch(0, [][]byte{nil})
	_, listened := s.Listen("127.0.0.1:0")
	any := replication.AnyReaders(1)
	_, appendedToken := s.AppendToken(0, nil)
	_, acked := s.Acked(replication.Token{}, replication.AckApplied, any)
	_, waited := s.WaitAcked(ctx, 1, replication.AckApplied, 1)
	_, waitedToken := s.WaitToken(ctx, replication.Token{}, replication.AckApplied, any)
	_, option := s.Option("max_readers")
	_, slots := s.Slots()
	_, token := s.Token()
	_, position := r.Token()
	_, part := r.BatchToken(0)
	_, interval := r.Option("ack_interval_ms")
	for i, err := range []error{
		appended, appendedToken, batch, listened, acked, waited, waitedToken, slots, token, option, position, part, interval,
		s.OnAcked(replication.Token{}, replication.AckApplied, any, 0, func(replication.AckResult) {}),
		s.SetOption("max_readers", 1), r.SetOption("ack_interval_ms", 1), r.WaitToken(ctx, replication.Token{}),
		s.Start(ctx), s.SetWritable(true), s.Disconnect("r"), s.DropSlot("r"), s.WaitDurable(ctx, 1),
		r.Start(ctx), r.Pause(), r.Resume(), r.WaitSequence(ctx, 1),
	} {
		if !errors.Is(err, replication.ErrClosed) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if s.CurrentSequence() != 0 || s.ReaderCount() != 0 || r.LastSequence() != 0 || r.IsConnected() ||
		s.Stats()["running"] != false || r.Stats()["connected"] != false || s.Stop() != nil || r.Stop() != nil {
		t.Error("a closed handle still says something")
	}
}

// In a handler a call that would wait for that very handler is refused, and Close is allowed.
func TestCallsInAHandler(t *testing.T) {
	checkLeaks(t)
	s, address := startSender(t, nil)
	cfg, _ := follow(address, "inside")
	var r *replication.Receiver
	results := make(chan error, 4)
	calls := 0
	cfg.EntryHandler = func(ctx context.Context, entry *replication.ReplicateEntry) error {
		if calls++; calls > 1 {
			t.Error("a handler began after Close")
		}
		results <- r.Stop()
		results <- r.WaitSequence(context.Background(), 99)
		if ctx.Err() != nil {
			return errors.New("the context ended")
		}
		token, err := r.Token()
		if err != nil || token == (replication.Token{}) {
			return fmt.Errorf("no token: %v", err)
		}
		results <- r.Close()
		return nil
	}
	r, err := replication.OpenReceiver(cfg)
	must(t, err)
	must(t, r.Start(context.Background()))
	appendTexts(t, s, "x", "y", "z")
	for i := 0; i < 2; i++ {
		if err := <-results; !errors.Is(err, replication.ErrWrongThread) {
			t.Errorf("%v", err)
		}
	}
	must(t, <-results)
	eventually(t, "the end", func() bool { return errors.Is(r.Pause(), replication.ErrClosed) })
}

// In a callback of a sender.
func TestCallsInACallbackOfASender(t *testing.T) {
	checkLeaks(t)
	s, _ := startSender(t, nil)
	sequence := appendTexts(t, s, "x")
	token, err := s.Token()
	must(t, err)
	results := make(chan error, 3)
	err = s.OnAcked(token, replication.AckReceived, replication.AnyReaders(1), 0, func(result replication.AckResult) {
		results <- result.Err
		_, err := s.WaitAcked(context.Background(), sequence, replication.AckReceived, 1)
		results <- err
		results <- s.Close()
	})
	must(t, err)
	if err := <-results; !errors.Is(err, replication.ErrTimeout) {
		t.Errorf("the order ended with %v", err)
	}
	if err := <-results; !errors.Is(err, replication.ErrWrongThread) {
		t.Errorf("waiting: %v", err)
	}
	must(t, <-results)
	eventually(t, "the end", func() bool { return errors.Is(s.SetWritable(true), replication.ErrClosed) })
}

func TestAcksQuorumsAndTokens(t *testing.T) {
	checkLeaks(t)
	s, address := startSender(t, &replication.SenderConfig{Groups: []replication.Group{
		{Name: "east", ReaderIDs: []string{"east-*"}}, {Name: "west", ReaderIDs: []string{"west-1", "west-2"}},
	}})
	for _, id := range []string{"east-1", "west-2"} {
		cfg, _ := follow(address, id)
		startReceiver(t, cfg)
	}
	token, err := s.AppendToken(0, []byte("x"))
	must(t, err)
	if last, err := s.Token(); err != nil || last != token {
		t.Errorf("%v and %v, %v", last, token, err)
	}
	both := replication.Quorum{{Group: "east", Readers: 1}, {Group: "west", Readers: 1}}
	n, err := s.WaitToken(within(t), token, replication.AckApplied, both)
	if n != 2 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if n, err := s.Acked(token, replication.AckApplied, both); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for _, wrong := range []replication.Quorum{nil, {{Group: "north", Readers: 1}}, {{Readers: 0}}, {{Readers: -1}}, {{Group: "west", Readers: 3}}} {
		if _, err := s.Acked(token, replication.AckApplied, wrong); !errors.Is(err, replication.ErrInvalidArgument) {
			t.Errorf("%v: %v", wrong, err)
		}
	}
	results := make(chan replication.AckResult, 2)
	tell := func(r replication.AckResult) { results <- r }
	must(t, s.OnAcked(token, replication.AckApplied, both, -1, tell))
	if r := <-results; r.Err != nil || r.Readers != 2 {
		t.Errorf("%+v", r)
	}
	foreign, err := replication.ParseTokenText("00112233445566778899aabbccddeeff:1:1:0000000000000001")
	must(t, err)
	if _, err := s.Acked(foreign, replication.AckApplied, both); !errors.Is(err, replication.ErrLost) {
		t.Errorf("another stream: %v", err)
	}
	damaged, err := replication.ParseToken(append(token.Bytes(), 0))
	must(t, err)
	if err := s.OnAcked(damaged, replication.AckApplied, both, 0, tell); !errors.Is(err, replication.ErrInvalidArgument) {
		t.Errorf("a damaged token: %v", err)
	}
	must(t, s.OnAcked(token, replication.AckApplied, replication.AnyReaders(3), -1, tell))
	must(t, s.Stop())
	if r := <-results; !errors.Is(r.Err, replication.ErrClosed) {
		t.Errorf("%+v", r)
	}
	if err := s.OnAcked(token, replication.AckApplied, replication.AnyReaders(1), 0, nil); !errors.Is(err, replication.ErrInvalidArgument) {
		t.Errorf("nil: %v", err)
	}
}

// A writer and a reader with logs on disk go on where they were.
func TestLogsOnDisk(t *testing.T) {
	checkLeaks(t)
	dir := t.TempDir()
	cfg := &replication.SenderConfig{WAL: &replication.SenderWAL{Dir: filepath.Join(dir, "writer"), Sync: replication.SyncAlways}}
	s, address := startSender(t, cfg)
	if _, err := replication.OpenSender(cfg); !errors.Is(err, replication.ErrLocked) {
		t.Errorf("a second sender on the log: %v", err)
	}
	reader, _ := follow(address, "durable")
	reader.WAL = &replication.ReceiverWAL{Dir: filepath.Join(dir, "reader")}
	r := startReceiver(t, reader)
	last := appendTexts(t, s, "a", "b")
	must(t, s.WaitDurable(within(t), last))
	_, err := s.WaitAcked(within(t), last, replication.AckDurable, 1)
	must(t, err)
	must(t, r.WaitSequence(within(t), last))
	slots, err := s.Slots()
	must(t, err)
	if len(slots) != 1 || slots[0].ReaderID != "durable" || !slots[0].Connected || slots[0].State != "held" {
		t.Errorf("%+v", slots)
	}
	before, err := s.Token()
	must(t, err)
	token, err := r.Token()
	must(t, err)
	must(t, r.Close())
	must(t, s.DropSlot("durable"))
	if err := s.DropSlot("durable"); !errors.Is(err, replication.ErrNotFound) {
		t.Errorf("no slot: %v", err)
	}
	must(t, s.Close())

	s, address = startSender(t, cfg)
	if after, err := s.Token(); err != nil || after != before || s.CurrentSequence() != last {
		t.Errorf("%v and %v, %d", before, after, s.CurrentSequence())
	}
	stored, err := replication.ParseToken(token.Bytes())
	must(t, err)
	next, got := follow(address, "durable")
	next.Token = &stored
	r = startReceiver(t, next)
	must(t, r.WaitSequence(within(t), appendTexts(t, s, "c")))
	if !reflect.DeepEqual(got.payloads(), []string{"c"}) {
		t.Errorf("got %q", got.payloads())
	}
	for _, length := range []int{0, 97} {
		if _, err := replication.ParseToken(make([]byte, length)); !errors.Is(err, replication.ErrInvalidArgument) {
			t.Errorf("%d bytes: %v", length, err)
		}
	}
}

func TestRecords(t *testing.T) {
	checkLeaks(t)
	want := []map[string]interface{}{
		{"id": int64(-7), "big": uint64(1<<64 - 1), "name": "disk0", "ok": true, "ratio": 0.5, "none": nil,
			"raw": []byte{0, 255}, "list": []interface{}{int64(1), "two"}, "map": map[string]interface{}{"a": "b"}},
		{},
	}
	payload, err := msgpack.Marshal(want)
	must(t, err)
	records, err := replication.ParseRecords(payload)
	must(t, err)
	defer records.Close()
	got, err := records.Maps()
	must(t, err)
	if !reflect.DeepEqual(got, want) || records.Len() != 2 {
		t.Errorf("%v", got)
	}
	row, err := records.Row(0)
	must(t, err)
	list, err := row.Get("list")
	must(t, err)
	two, err := list.At(1)
	must(t, err)
	if text, err := two.Text(); text != "two" || err != nil || list.Len() != 2 || list.Type() != replication.TypeArray {
		t.Errorf("%q %v", text, err)
	}
	if _, err := list.At(-1); !errors.Is(err, replication.ErrNotFound) {
		t.Errorf("at -1: %v", err)
	}
	if _, err := two.Int64(); !errors.Is(err, replication.ErrWrongType) {
		t.Errorf("a text as a number: %v", err)
	}
	if _, err := records.Get(0, "a\x00b"); !errors.Is(err, replication.ErrNotFound) {
		t.Errorf("a key with a zero byte: %v", err)
	}
	must(t, records.Close())
	if _, err := two.Text(); !errors.Is(err, replication.ErrClosed) || records.Len() != 0 || two.Type() != replication.TypeNil {
		t.Errorf("after the end: %v", err)
	}
	if _, err := new(replication.Value).Bool(); !errors.Is(err, replication.ErrInvalidArgument) {
		t.Errorf("the zero value: %v", err)
	}
}

// A map of Go's must not swallow an entry of the payload's.
func TestKeysThatAreOneInGo(t *testing.T) {
	checkLeaks(t)
	two := func(first, second string) []byte { return []byte("\x91\x82" + first + "\x01" + second + "\x02") }
	const text, bytes, other = "\xa1a", "\xc4\x01a", "\xc4\x01b"
	const zero, minusZero = "\xcb\x00\x00\x00\x00\x00\x00\x00\x00", "\xcb\x80\x00\x00\x00\x00\x00\x00\x00"
	const one, oneAsFloat, yes = "\x01", "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", "\xc3"
	type either = map[interface{}]interface{}
	for _, test := range []struct {
		payload []byte
		want    interface{} // nil: an error
	}{
		{two(text, bytes), nil},
		{two(bytes, text), nil},
		{two(zero, minusZero), nil},
		{two(minusZero, zero), nil},
		{two(text, text), map[string]interface{}{"a": int64(2)}},
		{two(bytes, bytes), either{"a": int64(2)}},
		{two(zero, zero), either{0.0: int64(2)}},
		{two(text, other), either{"a": int64(1), "b": int64(2)}},
		{two(one, "\xcc\x01"), either{int64(1): int64(2)}},
		{two(one, oneAsFloat), either{int64(1): int64(1), 1.0: int64(2)}},
		{two(one, yes), either{int64(1): int64(1), true: int64(2)}},
	} {
		records, err := replication.ParseRecords(test.payload)
		must(t, err)
		row, err := records.Row(0)
		must(t, err)
		got, err := row.Interface()
		switch {
		case test.want == nil && !errors.Is(err, replication.ErrWrongType):
			t.Errorf("%x: %v, %v", test.payload, got, err)
		case test.want != nil && (err != nil || !reflect.DeepEqual(got, test.want)):
			t.Errorf("%x: %v, %v, want %v", test.payload, got, err, test.want)
		}
		if row.Len() != 2 {
			t.Errorf("%x: %d entries", test.payload, row.Len())
		}
		must(t, records.Close())
	}
}

// Records that a handler closes are gone for it, and the library frees them as it does always.
func TestAHandlerMayCloseItsRecords(t *testing.T) {
	checkLeaks(t)
	s, address := startSender(t, nil)
	cfg, _ := follow(address, "records")
	cfg.EntryHandler = nil
	cfg.RecordHandler = func(_ context.Context, _, _ uint64, records *replication.Records) error {
		if err := records.Close(); err != nil {
			t.Errorf("%v", err)
		}
		if _, err := records.Row(0); !errors.Is(err, replication.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		return records.Close()
	}
	r := startReceiver(t, cfg)
	payload, err := msgpack.Marshal([]map[string]interface{}{{"k": "v"}})
	must(t, err)
	must(t, r.WaitSequence(within(t), appendTexts(t, s, string(payload), string(payload))))
}

// Records that a handler keeps are gone after it.
func TestRecordsOfAHandlerEndWithIt(t *testing.T) {
	checkLeaks(t)
	s, address := startSender(t, nil)
	var kept *replication.Records
	var value replication.Value
	cfg, _ := follow(address, "records")
	cfg.EntryHandler = nil
	cfg.RecordHandler = func(_ context.Context, _, _ uint64, records *replication.Records) (err error) {
		kept = records
		value, err = records.Get(0, "k")
		return err
	}
	r := startReceiver(t, cfg)
	payload, err := msgpack.Marshal([]map[string]interface{}{{"k": "v"}})
	must(t, err)
	must(t, r.WaitSequence(within(t), appendTexts(t, s, string(payload))))
	if _, err := value.Text(); !errors.Is(err, replication.ErrClosed) || kept.Len() != 0 {
		t.Errorf("%v", err)
	}
}
