package replication

/*
#include "library.h"
*/
import "C"

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unsafe"
)

// The types of protocol v1 messages.
const (
	// MsgReplicateEntry carries an entry to a reader.
	MsgReplicateEntry byte = 0x10
	// MsgReplicateAck acknowledges entries.
	MsgReplicateAck byte = 0x11
	// MsgReplicateSync begins a session: it carries a reader's position.
	MsgReplicateSync byte = 0x12
	// MsgReplicateSyncAck is the writer's reply to a Sync message.
	MsgReplicateSyncAck byte = 0x13
	// MsgReplicateError ends a session.
	MsgReplicateError byte = 0x1F
)

// The codes of an Error message.
const (
	// ErrCodeSequenceGap means that the reader is too far behind to resume.
	ErrCodeSequenceGap = "SEQUENCE_GAP"
	// ErrCodeWALRotated means that the log was rotated and a full copy is needed.
	ErrCodeWALRotated = "WAL_ROTATED"
	// ErrCodeInvalidMsg means that a message violates the protocol.
	ErrCodeInvalidMsg = "INVALID_MSG"
	// ErrCodeNotWriter means that the node is not the writer.
	ErrCodeNotWriter = "NOT_WRITER"
	// ErrCodeBufferFull means that the writer's buffer is full.
	ErrCodeBufferFull = "BUFFER_FULL"
	// ErrCodeWriteFailed means that writing failed.
	ErrCodeWriteFailed = "WRITE_FAILED"
	// ErrCodeApplyFailed means that applying an entry failed.
	ErrCodeApplyFailed = "APPLY_FAILED"
)

const (
	// HeaderSize is the size in bytes of a message's header: its length and its type.
	HeaderSize = 5
	// MaxMessageSize is the largest length of a message: its type and its JSON.
	MaxMessageSize = 100 * 1024 * 1024
)

// A ReplicateEntry is an entry: as a message, as an argument of Sender.Replicate, and as passed to handlers.
type ReplicateEntry struct {
	// Sequence is the entry's sequence.
	Sequence uint64 `json:"seq"`
	// TimestampUS is in microseconds since the Unix epoch, as set by the writer's host.
	TimestampUS uint64 `json:"ts"`
	// Payload may be any bytes; by convention, msgpack records.
	Payload []byte `json:"payload"`
}

// A ReplicateAck acknowledges a reader's entries.
type ReplicateAck struct {
	// LastSequence is the last acknowledged entry.
	LastSequence uint64 `json:"last_seq"`
	// ReaderID is the reader that acknowledges.
	ReaderID string `json:"reader_id"`
}

// A ReplicateSync carries a reader's position.
type ReplicateSync struct {
	// ReaderID is the reader that connects.
	ReaderID string `json:"reader_id"`
	// LastKnownSequence is the last entry that the reader has; 0 for none.
	LastKnownSequence uint64 `json:"last_known_seq"`
}

// A ReplicateSyncAck is the writer's reply to a ReplicateSync.
type ReplicateSyncAck struct {
	// CurrentSequence is the last entry of the writer's log.
	CurrentSequence uint64 `json:"current_seq"`
	// CanResume reports whether the reader receives every entry after its position.
	CanResume bool `json:"can_resume"`
	// Error is the reason why the reader is refused; "" if it is not.
	Error string `json:"error,omitempty"`
}

// A ReplicateError ends a session.
type ReplicateError struct {
	// Code is one of the ErrCode constants.
	Code string `json:"code"`
	// Message is a sentence for people.
	Message string `json:"message"`
}

// ReadMessage reads one message and returns its type and its JSON. If the stream ends before the first byte, the error
// matches io.EOF; if it ends inside the message, io.ErrUnexpectedEOF; in both cases also ErrTruncated. Any other error
// of r is wrapped together with ErrIO. Memory is allocated as bytes arrive, whatever length the message claims.
func ReadMessage(r io.Reader) (byte, []byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return 0, nil, readError("length", err)
	}
	size := binary.BigEndian.Uint32(length[:])
	if size == 0 {
		return 0, nil, &Error{Status: ErrMessageTooSmall, Op: "read message", Message: "message too small: its length is 0"}
	}
	if size > MaxMessageSize {
		return 0, nil, &Error{Status: ErrMessageTooLarge, Op: "read message",
			Message: fmt.Sprintf("message too large: %d bytes, at most %d are allowed", size, MaxMessageSize)}
	}
	var msgType [1]byte
	if _, err := io.ReadFull(r, msgType[:]); err != nil {
		return 0, nil, readError("type", unexpected(err))
	}
	payload, err := readPayload(r, int64(size)-1)
	if err != nil {
		return 0, nil, readError("payload", unexpected(err))
	}
	return msgType[0], payload, nil
}

// readPayload reads exactly size bytes.
func readPayload(r io.Reader, size int64) ([]byte, error) {
	const trusted = 64 * 1024
	if size <= trusted {
		payload := make([]byte, size)
		_, err := io.ReadFull(r, payload)
		return payload, err
	}
	var buffer bytes.Buffer
	if _, err := io.CopyN(&buffer, r, size); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

// readError returns an error that names the part of a message that could not be read.
func readError(part string, err error) error {
	status := ErrIO
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		status = ErrTruncated
	}
	return &Error{Status: status, Op: "read message", Message: "read " + part, Err: err}
}

// unexpected converts an end of the stream inside a message to io.ErrUnexpectedEOF.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// ParseMessage finds the message at the start of a buffer without copying it. It returns the message's type, its JSON
// within the buffer, and the size of the whole message in bytes. If the message is incomplete, the error is
// ErrTruncated.
func ParseMessage(buffer []byte) (msgType byte, payload []byte, consumed int, err error) {
	if err := Load(); err != nil {
		return 0, nil, 0, err
	}
	var cType C.uint8_t
	var jsonLen, total C.size_t
	err = call("parse message", func() C.int32_t {
		return C.lr_read_message(bytesPointer(buffer), C.size_t(len(buffer)), &cType, &jsonLen, &total)
	})
	if err != nil {
		return 0, nil, 0, err
	}
	return byte(cType), buffer[HeaderSize : HeaderSize+int(jsonLen)], int(total), nil
}

// WriteMessage writes a message of any type. It encodes msg with encoding/json, but writes a json.RawMessage unchanged.
// For every function that writes, ErrIO wraps the error of the writer.
func WriteMessage(w io.Writer, msgType byte, msg interface{}) error {
	payload, isRaw := msg.(json.RawMessage)
	if !isRaw {
		var err error
		if payload, err = json.Marshal(msg); err != nil {
			return &Error{Status: ErrInvalidArgument, Op: "write message", Err: err}
		}
	}
	return write(w, "write message", len(payload)+HeaderSize, func(buffer *C.uint8_t, room C.size_t, size *C.size_t) C.int32_t {
		return C.lr_replication_write_message(C.uint8_t(msgType), bytesPointer(payload), C.size_t(len(payload)),
			buffer, room, size)
	})
}

// WriteEntry writes an Entry message.
func WriteEntry(w io.Writer, entry *ReplicateEntry) error {
	if entry == nil {
		return invalid("write entry", "the entry is nil")
	}
	payload := bytesPointer(entry.Payload)
	if entry.Payload == nil {
		payload = nil // written as null, as encoding/json does
	}
	expected := len(entry.Payload)/3*4 + 128
	if expected > MaxMessageSize {
		return &Error{Status: ErrMessageTooLarge, Op: "write entry",
			Message: fmt.Sprintf("message too large: a payload of %d bytes does not fit %d", len(entry.Payload), MaxMessageSize)}
	}
	return write(w, "write entry", expected, func(buffer *C.uint8_t, room C.size_t, size *C.size_t) C.int32_t {
		return C.lr_replication_write_entry(C.uint64_t(entry.Sequence), C.uint64_t(entry.TimestampUS), payload,
			C.size_t(len(entry.Payload)), buffer, room, size)
	})
}

// WriteAck writes an Ack message.
func WriteAck(w io.Writer, ack *ReplicateAck) error {
	if ack == nil {
		return invalid("write ack", "the ack is nil")
	}
	id, err := newCString(ack.ReaderID)
	if err != nil {
		return err
	}
	defer id.free()
	return write(w, "write ack", len(ack.ReaderID)+128, func(buffer *C.uint8_t, room C.size_t, size *C.size_t) C.int32_t {
		return C.lr_replication_write_ack(C.uint64_t(ack.LastSequence), id.pointer, buffer, room, size)
	})
}

// WriteSync writes a Sync message.
func WriteSync(w io.Writer, sync *ReplicateSync) error { return writeSync(w, sync, false) }

// WriteCoordinatorSync writes a Sync message with the type of a cluster coordinator, 0x10.
func WriteCoordinatorSync(w io.Writer, sync *ReplicateSync) error { return writeSync(w, sync, true) }

func writeSync(w io.Writer, sync *ReplicateSync, coordinator bool) error {
	if sync == nil {
		return invalid("write sync", "the sync is nil")
	}
	id, err := newCString(sync.ReaderID)
	if err != nil {
		return err
	}
	defer id.free()
	return write(w, "write sync", len(sync.ReaderID)+128, func(buffer *C.uint8_t, room C.size_t, size *C.size_t) C.int32_t {
		return C.lr_replication_write_sync(id.pointer, C.uint64_t(sync.LastKnownSequence), C._Bool(coordinator),
			buffer, room, size)
	})
}

// WriteSyncAck writes a SyncAck message.
func WriteSyncAck(w io.Writer, ack *ReplicateSyncAck) error { return writeSyncAck(w, ack, false) }

// WriteCoordinatorSyncAck writes a SyncAck message with the type of a cluster coordinator, 0x11.
func WriteCoordinatorSyncAck(w io.Writer, ack *ReplicateSyncAck) error {
	return writeSyncAck(w, ack, true)
}

func writeSyncAck(w io.Writer, ack *ReplicateSyncAck, coordinator bool) error {
	if ack == nil {
		return invalid("write sync ack", "the sync ack is nil")
	}
	reason, err := newCString(ack.Error)
	if err != nil {
		return err
	}
	defer reason.free()
	return write(w, "write sync ack", len(ack.Error)+128, func(buffer *C.uint8_t, room C.size_t, size *C.size_t) C.int32_t {
		return C.lr_replication_write_sync_ack(C.uint64_t(ack.CurrentSequence), C._Bool(ack.CanResume), reason.pointer,
			C._Bool(coordinator), buffer, room, size)
	})
}

// WriteError writes an Error message.
func WriteError(w io.Writer, message *ReplicateError) error {
	if message == nil {
		return invalid("write error", "the error is nil")
	}
	code, err := newCString(message.Code)
	if err != nil {
		return err
	}
	defer code.free()
	text, err := newCString(message.Message)
	if err != nil {
		return err
	}
	defer text.free()
	expected := len(message.Code) + len(message.Message) + 128
	return write(w, "write error", expected, func(buffer *C.uint8_t, room C.size_t, size *C.size_t) C.int32_t {
		return C.lr_replication_write_error(code.pointer, text.pointer, buffer, room, size)
	})
}

// An encoder writes a message into a buffer and sets its size, even if the buffer is too small.
type encoder func(buffer *C.uint8_t, room C.size_t, size *C.size_t) C.int32_t

// write encodes a message into a buffer of the expected size, or of the size that the encoder needs, and writes it.
func write(w io.Writer, op string, expected int, encode encoder) error {
	if err := Load(); err != nil {
		return err
	}
	for {
		buffer := make([]byte, expected)
		var size C.size_t
		err := call(op, func() C.int32_t {
			return encode(bytesPointer(buffer), C.size_t(len(buffer)), &size)
		})
		switch {
		case err == nil:
			if _, err := w.Write(buffer[:size]); err != nil {
				return &Error{Status: ErrIO, Op: op, Err: err}
			}
			return nil
		case errors.Is(err, ErrBufferTooSmall) && int(size) > expected:
			expected = int(size)
		case errors.Is(err, ErrMessageTooLarge):
			err.(*Error).Message = "message too large: " + err.(*Error).Message
			return err
		default:
			return err
		}
	}
}

// ParseEntry parses the JSON of an Entry message.
func ParseEntry(payload []byte) (*ReplicateEntry, error) {
	if err := Load(); err != nil {
		return nil, err
	}
	var sequence, timestampUS C.uint64_t
	var size C.size_t
	decoded := make([]byte, len(payload)/4*3) // base64 is never shorter than the bytes it encodes
	err := call("parse entry", func() C.int32_t {
		return C.lr_replication_parse_entry(bytesPointer(payload), C.size_t(len(payload)), &sequence, &timestampUS,
			bytesPointer(decoded), C.size_t(len(decoded)), &size)
	})
	if err != nil {
		return nil, err
	}
	return &ReplicateEntry{uint64(sequence), uint64(timestampUS), decoded[:size:size]}, nil
}

// ParseAck parses the JSON of an Ack message.
func ParseAck(payload []byte) (*ReplicateAck, error) {
	var sequence C.uint64_t
	id, err := parse("parse ack", payload, func(json *C.uint8_t, jsonLen C.size_t, text *C.char, room C.size_t, size *C.size_t) C.int32_t {
		return C.lr_replication_parse_ack(json, jsonLen, &sequence, text, room, size)
	})
	if err != nil {
		return nil, err
	}
	return &ReplicateAck{LastSequence: uint64(sequence), ReaderID: id}, nil
}

// ParseSync parses the JSON of a Sync message.
func ParseSync(payload []byte) (*ReplicateSync, error) {
	var sequence C.uint64_t
	id, err := parse("parse sync", payload, func(json *C.uint8_t, jsonLen C.size_t, text *C.char, room C.size_t, size *C.size_t) C.int32_t {
		return C.lr_replication_parse_sync(json, jsonLen, &sequence, text, room, size)
	})
	if err != nil {
		return nil, err
	}
	return &ReplicateSync{ReaderID: id, LastKnownSequence: uint64(sequence)}, nil
}

// ParseSyncAck parses the JSON of a SyncAck message.
func ParseSyncAck(payload []byte) (*ReplicateSyncAck, error) {
	var sequence C.uint64_t
	var canResume C._Bool
	reason, err := parse("parse sync ack", payload, func(json *C.uint8_t, jsonLen C.size_t, text *C.char, room C.size_t, size *C.size_t) C.int32_t {
		return C.lr_replication_parse_sync_ack(json, jsonLen, &sequence, &canResume, text, room, size)
	})
	if err != nil {
		return nil, err
	}
	return &ReplicateSyncAck{CurrentSequence: uint64(sequence), CanResume: bool(canResume), Error: reason}, nil
}

// ParseError parses the JSON of an Error message.
func ParseError(payload []byte) (*ReplicateError, error) {
	var message []byte
	var messageLen C.size_t
	code, err := parse("parse error", payload, func(json *C.uint8_t, jsonLen C.size_t, text *C.char, room C.size_t, size *C.size_t) C.int32_t {
		message = make([]byte, room)
		return C.lr_replication_parse_error(json, jsonLen, text, room, size,
			(*C.char)(unsafe.Pointer(&message[0])), room, &messageLen)
	})
	if err != nil {
		return nil, err
	}
	return &ReplicateError{Code: code, Message: string(message[:messageLen])}, nil
}

// A decoder parses JSON and writes the only string in it.
type decoder func(json *C.uint8_t, jsonLen C.size_t, text *C.char, room C.size_t, size *C.size_t) C.int32_t

// parse decodes JSON. A string is never longer than the JSON that contains it.
func parse(op string, payload []byte, decode decoder) (string, error) {
	if err := Load(); err != nil {
		return "", err
	}
	text := make([]byte, len(payload)+1)
	var size C.size_t
	err := call(op, func() C.int32_t {
		return decode(bytesPointer(payload), C.size_t(len(payload)),
			(*C.char)(unsafe.Pointer(&text[0])), C.size_t(len(text)), &size)
	})
	if err != nil {
		return "", err
	}
	return string(text[:size]), nil
}

var noBytes [1]byte

// bytesPointer returns a pointer to the first byte. It is not nil for an empty slice, but the library does not read it
// then.
func bytesPointer(b []byte) *C.uint8_t {
	if len(b) == 0 {
		return (*C.uint8_t)(unsafe.Pointer(&noBytes[0]))
	}
	return (*C.uint8_t)(unsafe.Pointer(&b[0]))
}
