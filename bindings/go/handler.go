package replication

import (
	"context"
	"fmt"

	"github.com/rs/zerolog"
	"github.com/vmihailenco/msgpack/v5"
)

// A WALWriter writes each entry to the host's own log before the handler receives it.
type WALWriter interface {
	// AppendRaw writes a payload, which it may keep. If it returns an error, the entry is delivered again.
	AppendRaw(payload []byte) error
}

// An IngestHandler applies entries one at a time, in order.
type IngestHandler interface {
	// ApplyReplicatedEntry applies a payload, which it may keep. If it returns an error, the position does not move, and
	// the entry is delivered again as ReceiverConfig.ApplyPolicy specifies.
	ApplyReplicatedEntry(ctx context.Context, payload []byte) error
}

// An IngestHandlerFunc adapts a function to the IngestHandler interface.
type IngestHandlerFunc func(ctx context.Context, payload []byte) error

// ApplyReplicatedEntry calls the function.
func (f IngestHandlerFunc) ApplyReplicatedEntry(ctx context.Context, payload []byte) error {
	return f(ctx, payload)
}

// A SimpleIngestHandler decodes payloads, which are msgpack arrays of maps, and passes the records to a function.
type SimpleIngestHandler struct {
	// HandleFunc applies the records of one entry.
	HandleFunc func(ctx context.Context, records []map[string]interface{}) error
	// Logger logs payloads that are not arrays of maps.
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

// An EntryHandler applies entries one at a time, in order. It may keep the entry.
type EntryHandler func(ctx context.Context, entry *ReplicateEntry) error

// A BatchHandler applies many entries per call, in order. Each batch takes one call from the library to Go. The slice
// and its payloads are valid until the handler returns; copy them to keep them.
//
// If the error is nil, all entries are applied. Otherwise applied is how many of the first entries were applied; the
// others are delivered again.
type BatchHandler func(ctx context.Context, entries []ReplicateEntry) (applied int, err error)

// A RecordHandler applies entries one at a time, with their msgpack payload decoded by the library. The records are
// valid until it returns.
type RecordHandler func(ctx context.Context, sequence, timestampUS uint64, records *Records) error
