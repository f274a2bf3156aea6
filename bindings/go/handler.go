package replication

import (
	"context"
	"fmt"

	"github.com/rs/zerolog"
	"github.com/vmihailenco/msgpack/v5"
)

// A WALWriter takes each entry into the host's own log before the handler gets it.
type WALWriter interface {
	// AppendRaw writes a payload, which it may keep. An entry that it does not take comes again.
	AppendRaw(payload []byte) error
}

// An IngestHandler applies entries, one at a time and in order.
type IngestHandler interface {
	// ApplyReplicatedEntry applies a payload, which it may keep. An error keeps the position where it is: the entry
	// comes again, as ReceiverConfig.ApplyPolicy says.
	ApplyReplicatedEntry(ctx context.Context, payload []byte) error
}

// An IngestHandlerFunc is a function as an IngestHandler.
type IngestHandlerFunc func(ctx context.Context, payload []byte) error

// ApplyReplicatedEntry calls the function.
func (f IngestHandlerFunc) ApplyReplicatedEntry(ctx context.Context, payload []byte) error {
	return f(ctx, payload)
}

// A SimpleIngestHandler decodes payloads, arrays of maps in msgpack, and gives the records to a function.
type SimpleIngestHandler struct {
	// HandleFunc applies the records of one entry.
	HandleFunc func(ctx context.Context, records []map[string]interface{}) error
	// Logger hears of payloads that are something else.
	Logger zerolog.Logger
}

// ApplyReplicatedEntry decodes a payload and calls HandleFunc.
func (h *SimpleIngestHandler) ApplyReplicatedEntry(ctx context.Context, payload []byte) error {
	if h.HandleFunc == nil {
		return &Error{Status: ErrInvalidState, Op: "apply", Message: "SimpleIngestHandler has no HandleFunc"}
	}
	var records []map[string]interface{}
	if err := msgpack.Unmarshal(payload, &records); err != nil {
		h.Logger.Error().Err(err).Int("bytes", len(payload)).Msg("a payload is not an array of maps in msgpack")
		return &Error{Status: ErrDecodeFailed, Op: "apply", Err: fmt.Errorf("decode records: %w", err)}
	}
	return h.HandleFunc(ctx, records)
}

// An EntryHandler applies entries, one at a time and in order. It may keep the entry.
type EntryHandler func(ctx context.Context, entry *ReplicateEntry) error

// A BatchHandler applies many entries at once, in order: one call from the library to Go for all of them. The slice and
// its payloads are valid until it returns, and must be copied to be kept.
//
// Without an error all entries are applied. With one, applied says how many of the first ones are nevertheless; the
// rest comes again.
type BatchHandler func(ctx context.Context, entries []ReplicateEntry) (applied int, err error)

// A RecordHandler applies entries one at a time, with their msgpack payload decoded by the library. The records are
// valid until it returns.
type RecordHandler func(ctx context.Context, sequence, timestampUS uint64, records *Records) error
