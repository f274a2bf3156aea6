package replication_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libreplication/libreplication/bindings/go"
	"github.com/rs/zerolog"
	"github.com/vmihailenco/msgpack/v5"
)

// The documented API, name for name: what is here compiled before with another import path.
var (
	_ byte = replication.MsgReplicateEntry | replication.MsgReplicateAck | replication.MsgReplicateSync |
		replication.MsgReplicateSyncAck | replication.MsgReplicateError
	_ = []string{replication.ErrCodeSequenceGap, replication.ErrCodeWALRotated, replication.ErrCodeInvalidMsg,
		replication.ErrCodeNotWriter, replication.ErrCodeBufferFull, replication.ErrCodeWriteFailed, replication.ErrCodeApplyFailed}
	_ [replication.HeaderSize]byte     = [5]byte{}
	_ [replication.MaxMessageSize]bool = [104857600]bool{}

	_ func(io.Reader) (byte, []byte, error)                       = replication.ReadMessage
	_ func(io.Writer, byte, interface{}) error                    = replication.WriteMessage
	_ func(io.Writer, *replication.ReplicateEntry) error          = replication.WriteEntry
	_ func(io.Writer, *replication.ReplicateAck) error            = replication.WriteAck
	_ func(io.Writer, *replication.ReplicateSync) error           = replication.WriteSync
	_ func(io.Writer, *replication.ReplicateSyncAck) error        = replication.WriteSyncAck
	_ func(io.Writer, *replication.ReplicateError) error          = replication.WriteError
	_ func([]byte) (*replication.ReplicateEntry, error)           = replication.ParseEntry
	_ func([]byte) (*replication.ReplicateAck, error)             = replication.ParseAck
	_ func([]byte) (*replication.ReplicateSync, error)            = replication.ParseSync
	_ func([]byte) (*replication.ReplicateSyncAck, error)         = replication.ParseSyncAck
	_ func([]byte) (*replication.ReplicateError, error)           = replication.ParseError
	_ func(*replication.SenderConfig) *replication.Sender         = replication.NewSender
	_ func(*replication.ReceiverConfig) *replication.Receiver     = replication.NewReceiver
	_ replication.IngestHandler                                   = replication.IngestHandlerFunc(nil)
	_ replication.IngestHandler                                   = (*replication.SimpleIngestHandler)(nil)
	_ replication.WALWriter                                       = (*rawLog)(nil)
	_ *replication.ReaderConnection                               = nil
	_ func(ctx context.Context, r []map[string]interface{}) error = replication.SimpleIngestHandler{}.HandleFunc

	_ interface {
		Start(context.Context) error
		Stop() error
		Replicate(*replication.ReplicateEntry)
		AcceptReader(net.Conn, string, uint64) error
		RemoveReader(string)
		ReaderCount() int
		CurrentSequence() uint64
		Stats() map[string]interface{}
		io.Closer
	} = (*replication.Sender)(nil)
	_ interface {
		Start(context.Context) error
		Stop() error
		IsConnected() bool
		LastSequence() uint64
		Stats() map[string]interface{}
		io.Closer
	} = (*replication.Receiver)(nil)
)

// The codes are texts on the wire, and the names of the statuses that they become.
func TestErrorCodes(t *testing.T) {
	for _, test := range []struct {
		code, text string
		status     replication.Status
	}{
		{replication.ErrCodeSequenceGap, "SEQUENCE_GAP", replication.ErrSequenceGap},
		{replication.ErrCodeWALRotated, "WAL_ROTATED", replication.ErrWALRotated},
		{replication.ErrCodeInvalidMsg, "INVALID_MSG", replication.ErrInvalidMsg},
		{replication.ErrCodeNotWriter, "NOT_WRITER", replication.ErrNotWriter},
		{replication.ErrCodeBufferFull, "BUFFER_FULL", replication.ErrBufferFull},
		{replication.ErrCodeWriteFailed, "WRITE_FAILED", replication.ErrWriteFailed},
		{replication.ErrCodeApplyFailed, "APPLY_FAILED", replication.ErrApplyFailed},
	} {
		if test.code != test.text || test.status.String() != test.text {
			t.Errorf("the code is %q and the status %q instead of %q", test.code, test.status, test.text)
		}
	}
}

type rawLog struct {
	lock     sync.Mutex
	payloads [][]byte
}

func (l *rawLog) AppendRaw(payload []byte) error {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.payloads = append(l.payloads, payload)
	return nil
}

// serve accepts readers as a host does that reads the Sync itself.
func serve(listener net.Listener, sender *replication.Sender) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		msgType, payload, err := replication.ReadMessage(conn)
		if err != nil || msgType != replication.MsgReplicateSync {
			conn.Close()
			continue
		}
		sync, err := replication.ParseSync(payload)
		if err == nil {
			err = sender.AcceptReader(conn, sync.ReaderID, sync.LastKnownSequence)
		}
		if err != nil {
			conn.Close()
		}
	}
}

// A program that was written for the documented API.
func TestAProgramForTheDocumentedAPI(t *testing.T) {
	checkLeaks(t)
	logger := zerolog.New(io.Discard)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	sender := replication.NewSender(&replication.SenderConfig{BufferSize: 1000, WriteTimeout: 2 * time.Second, Logger: logger})
	must(t, sender.Start(ctx))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	go serve(listener, sender)

	local := &rawLog{}
	got := make(chan []map[string]interface{}, 10)
	receiver := replication.NewReceiver(&replication.ReceiverConfig{
		ReaderID:   "reader-1",
		WriterAddr: listener.Addr().String(),
		LocalWAL:   local,
		IngestHandler: &replication.SimpleIngestHandler{
			HandleFunc: func(_ context.Context, records []map[string]interface{}) error { got <- records; return nil },
			Logger:     logger,
		},
		ReconnectInterval: 100 * time.Millisecond,
		AckInterval:       20 * time.Millisecond,
		Logger:            logger,
	})
	must(t, receiver.Start(ctx))

	payload, err := msgpack.Marshal([]map[string]interface{}{{"measurement": "cpu", "value": 0.5, "host": "a"}})
	must(t, err)
	for i := uint64(1); i <= 3; i++ {
		entry := &replication.ReplicateEntry{TimestampUS: uint64(time.Now().UnixMicro()), Payload: payload}
		sender.Replicate(entry)
		if entry.Sequence != i {
			t.Fatalf("entry %d has the sequence %d", i, entry.Sequence)
		}
		records := <-got
		if len(records) != 1 || records[0]["measurement"] != "cpu" || records[0]["value"] != 0.5 {
			t.Fatalf("got %v", records)
		}
	}
	eventually(t, "the last position", func() bool { return receiver.LastSequence() == 3 })
	if !receiver.IsConnected() || sender.ReaderCount() != 1 || sender.CurrentSequence() != 3 {
		t.Errorf("connected %v, readers %d, sequence %d", receiver.IsConnected(), sender.ReaderCount(), sender.CurrentSequence())
	}
	if len(local.payloads) != 3 || !bytes.Equal(local.payloads[2], payload) {
		t.Errorf("the local log has %d payloads", len(local.payloads))
	}
	eventually(t, "the acknowledgement", func() bool {
		readers := sender.Stats()["readers"].([]map[string]interface{})
		return len(readers) == 1 && readers[0]["last_ack_seq"] == uint64(3)
	})
	checkTypes(t, sender.Stats(), map[string]interface{}{
		"running": true, "current_sequence": uint64(3), "buffer_size": 1000, "buffer_used": 3, "reader_count": 1,
		"total_entries_received": int64(3), "total_entries_dropped": int64(0), "total_entries_sent": int64(3),
	})
	checkTypes(t, sender.Stats()["readers"].([]map[string]interface{})[0], map[string]interface{}{
		"reader_id": "reader-1", "last_ack_seq": uint64(3), "entries_sent": int64(3), "errors": int64(0), "lag": uint64(0),
	})
	checkCounter(t, sender.Stats(), "total_bytes_sent")
	reader := sender.Stats()["readers"].([]map[string]interface{})[0]
	checkCounter(t, reader, "bytes_sent")
	checkTime(t, reader, "last_send_time")
	stats := receiver.Stats()
	checkCounter(t, stats, "total_bytes_received")
	checkTypes(t, stats, map[string]interface{}{
		"running": true, "connected": true, "writer_addr": listener.Addr().String(), "reader_id": "reader-1",
		"last_sequence": uint64(3), "total_entries_received": int64(3), "total_entries_applied": int64(3), "total_errors": int64(0),
	})
	if _, isFloat := stats["connection_duration_sec"].(float64); !isFloat {
		t.Errorf("connection_duration_sec is %T", stats["connection_duration_sec"])
	}
	checkTime(t, stats, "last_receive_time")
	checkTime(t, stats, "connected_since")
	sender.RemoveReader("reader-1")
	sender.RemoveReader("nobody")
	must(t, receiver.Stop())
	must(t, sender.Stop())
	if sender.Stats()["running"] != false || receiver.Stats()["running"] != false {
		t.Error("they run after Stop")
	}
	entry := &replication.ReplicateEntry{Sequence: 9, Payload: payload}
	if sender.Replicate(entry); entry.Sequence != 0 {
		t.Errorf("an entry that was not taken has the sequence %d", entry.Sequence)
	}
}

func checkTypes(t *testing.T, stats, want map[string]interface{}) {
	t.Helper()
	for key, value := range want {
		if !reflect.DeepEqual(stats[key], value) {
			t.Errorf("%s is %T %v instead of %T %v", key, stats[key], stats[key], value, value)
		}
	}
}

// checkCounter: something was counted up.
func checkCounter(t *testing.T, stats map[string]interface{}, key string) {
	t.Helper()
	if n, isInt64 := stats[key].(int64); !isInt64 || n <= 0 {
		t.Errorf("%s is %T %v instead of an int64 above 0", key, stats[key], stats[key])
	}
}

func checkTime(t *testing.T, stats map[string]interface{}, key string) {
	t.Helper()
	text, isText := stats[key].(string)
	if _, err := time.Parse(time.RFC3339, text); !isText || err != nil {
		t.Errorf("%s is %T %v instead of a time", key, stats[key], stats[key])
	}
}

func TestSimpleIngestHandlerRefusesWhatIsNoRecords(t *testing.T) {
	h := &replication.SimpleIngestHandler{HandleFunc: func(context.Context, []map[string]interface{}) error { return nil }}
	if err := h.ApplyReplicatedEntry(context.Background(), []byte("text")); !errors.Is(err, replication.ErrDecodeFailed) {
		t.Errorf("%v", err)
	}
	err := new(replication.SimpleIngestHandler).ApplyReplicatedEntry(context.Background(), nil)
	if !errors.Is(err, replication.ErrInvalidState) || !strings.Contains(err.Error(), "HandleFunc") {
		t.Errorf("without a function: %v", err)
	}
}

// Messages are written and read as encoding/json does with the same structures.
func TestMessagesAreThoseOfGo(t *testing.T) {
	texts := []string{"reader-1", "", "<&>\u2028\"\\", strings.Repeat("é", 300), "\x01\t\n"}
	for _, text := range texts {
		for write, message := range map[byte]interface{}{
			replication.MsgReplicateAck:     &replication.ReplicateAck{LastSequence: 1 << 63, ReaderID: text},
			replication.MsgReplicateSync:    &replication.ReplicateSync{ReaderID: text, LastKnownSequence: 7},
			replication.MsgReplicateSyncAck: &replication.ReplicateSyncAck{CurrentSequence: 9, CanResume: true, Error: text},
			replication.MsgReplicateError:   &replication.ReplicateError{Code: replication.ErrCodeWALRotated, Message: text},
			replication.MsgReplicateEntry:   &replication.ReplicateEntry{Sequence: 1<<64 - 1, TimestampUS: 3, Payload: []byte(text)},
		} {
			var own, generic bytes.Buffer
			must(t, writeOwn(&own, message))
			must(t, replication.WriteMessage(&generic, write, message))
			if !bytes.Equal(own.Bytes(), generic.Bytes()) {
				t.Errorf("%T: %q instead of %q", message, own.Bytes(), generic.Bytes())
			}
			_, payload, err := replication.ReadMessage(&own)
			must(t, err)
			want := reflect.New(reflect.TypeOf(message).Elem()).Interface()
			must(t, json.Unmarshal(payload, want))
			got, err := parseOwn(write, payload)
			must(t, err)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("read %+v instead of %+v", got, want)
			}
		}
	}
}

func writeOwn(w io.Writer, message interface{}) error {
	switch m := message.(type) {
	case *replication.ReplicateEntry:
		return replication.WriteEntry(w, m)
	case *replication.ReplicateAck:
		return replication.WriteAck(w, m)
	case *replication.ReplicateSync:
		return replication.WriteSync(w, m)
	case *replication.ReplicateSyncAck:
		return replication.WriteSyncAck(w, m)
	}
	return replication.WriteError(w, message.(*replication.ReplicateError))
}

func parseOwn(msgType byte, payload []byte) (interface{}, error) {
	switch msgType {
	case replication.MsgReplicateEntry:
		return replication.ParseEntry(payload)
	case replication.MsgReplicateAck:
		return replication.ParseAck(payload)
	case replication.MsgReplicateSync:
		return replication.ParseSync(payload)
	case replication.MsgReplicateSyncAck:
		return replication.ParseSyncAck(payload)
	}
	return replication.ParseError(payload)
}

func TestBadMessages(t *testing.T) {
	for _, test := range []struct{ bytes, text string }{
		{"", "read length"}, {"\x00\x00", "read length"}, {"\x00\x00\x00\x02", "read type"},
		{"\x00\x00\x00\x05\x10{", "read payload"}, {"\x00\x00\x00\x00", "too small"}, {"\xff\xff\xff\xff", "too large"},
		{"\x06\x40\x00\x00\x10{", "read payload"}, // 100 MiB are allowed, and not there
	} {
		_, _, err := replication.ReadMessage(strings.NewReader(test.bytes))
		if err == nil || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%q: %v", test.bytes, err)
		}
	}
	if _, _, err := replication.ReadMessage(strings.NewReader("")); !errors.Is(err, io.EOF) {
		t.Errorf("an empty stream: %v", err)
	}
	if _, _, err := replication.ReadMessage(strings.NewReader("\x00")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a stream that ends: %v", err)
	}
	huge := &replication.ReplicateEntry{Payload: make([]byte, replication.MaxMessageSize+1)}
	for _, err := range []error{
		replication.WriteEntry(io.Discard, huge),
		replication.WriteMessage(io.Discard, replication.MsgReplicateEntry, json.RawMessage(huge.Payload)),
	} {
		if !errors.Is(err, replication.ErrMessageTooLarge) || !strings.Contains(err.Error(), "too large") {
			t.Errorf("a huge message: %v", err)
		}
	}
	for _, err := range []error{
		replication.WriteAck(io.Discard, nil), replication.WriteSync(io.Discard, nil), replication.WriteSyncAck(io.Discard, nil),
		replication.WriteError(io.Discard, nil), replication.WriteEntry(io.Discard, nil),
		replication.WriteAck(io.Discard, &replication.ReplicateAck{ReaderID: "a\x00b"}),
		replication.WriteAck(io.Discard, &replication.ReplicateAck{ReaderID: "\xff"}),
	} {
		if !errors.Is(err, replication.ErrInvalidArgument) {
			t.Errorf("%v", err)
		}
	}
}

// A broken is a stream that gives what it has, and then its error.
type broken struct{ has, err string }

func (b *broken) Error() string { return b.err }

func (b *broken) Read(p []byte) (int, error) {
	if b.has == "" {
		return 0, b
	}
	n := copy(p, b.has)
	b.has = b.has[n:]
	return n, nil
}

func (b *broken) Write([]byte) (int, error) { return 0, b }

// Errors of the host's streams and values are wrapped in the package's own.
func TestForeignErrorsOfMessages(t *testing.T) {
	check := func(what string, err error, status replication.Status, text string, behind interface{}) {
		t.Helper()
		var own *replication.Error
		if !errors.As(err, &own) || own.Status != status || !strings.Contains(err.Error(), text) || !errors.As(own.Err, behind) {
			t.Errorf("%s: %v", what, err)
		}
	}
	var stream *broken
	for has, text := range map[string]string{
		"": "read length", "\x00": "read length", "\x00\x00\x00\x02": "read type", "\x00\x00\x00\x05\x10{": "read payload",
		"\x06\x40\x00\x00\x10{": "read payload",
	} {
		_, _, err := replication.ReadMessage(&broken{has, "the line is cut"})
		check(text, err, replication.ErrIO, text, &stream)
		if !strings.HasSuffix(err.Error(), text+": the line is cut") || errors.Is(err, io.EOF) {
			t.Errorf("%v", err)
		}
	}
	for _, message := range []interface{}{
		&replication.ReplicateEntry{}, &replication.ReplicateAck{}, &replication.ReplicateSync{},
		&replication.ReplicateSyncAck{}, &replication.ReplicateError{},
	} {
		check("write", writeOwn(&broken{err: "the line is cut"}, message), replication.ErrIO, "the line is cut", &stream)
	}
	var unsupported *json.UnsupportedTypeError
	check("marshal", replication.WriteMessage(io.Discard, replication.MsgReplicateAck, make(chan int)),
		replication.ErrInvalidArgument, "chan int", &unsupported)
	check("write", replication.WriteMessage(&broken{err: "the line is cut"}, replication.MsgReplicateAck, 1),
		replication.ErrIO, "write message", &stream)
}

// The frames of existing deployments are read and written byte for byte.
func TestVectors(t *testing.T) {
	text, err := os.ReadFile("../../tests/vectors/v1.jsonl")
	must(t, err)
	written := 0
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		var vector struct {
			Name, JSON string
			Frame      string `json:"frame_hex"`
			Type       byte
		}
		must(t, json.Unmarshal([]byte(line), &vector))
		frame, err := hex.DecodeString(vector.Frame)
		must(t, err)
		msgType, payload, err := replication.ReadMessage(bytes.NewReader(frame))
		must(t, err)
		if msgType != vector.Type || string(payload) != vector.JSON {
			t.Errorf("%s: read %#x %q", vector.Name, msgType, payload)
		}
		if strings.Contains(vector.Name, "coordinator") {
			continue // other messages with these types
		}
		message, err := parseOwn(msgType, payload)
		if err != nil {
			t.Errorf("%s: %v", vector.Name, err)
			continue
		}
		if entry, isEntry := message.(*replication.ReplicateEntry); isEntry && strings.Contains(vector.JSON, "null") {
			entry.Payload = nil
		}
		var again bytes.Buffer
		must(t, writeOwn(&again, message))
		if !bytes.Equal(again.Bytes(), frame) {
			t.Errorf("%s: wrote %q instead of %q", vector.Name, again.Bytes(), frame)
		}
		written++
	}
	if written < 10 {
		t.Errorf("only %d vectors", written)
	}
}
