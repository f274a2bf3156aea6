package replication

/*
#include "library.h"
*/
import "C"

import (
	"encoding/json"
	"math"
	"runtime"
	"strconv"
	"sync"
	"unsafe"
)

// Records are the decoded records of a payload, a msgpack array of maps. Any number of goroutines may read them at
// once.
type Records struct {
	lock    sync.RWMutex
	pointer *C.replication_records
	lent    bool // to a handler, by the library, which frees it
}

// ParseRecords decodes a payload whose values use at most 256 MiB of memory. Close the records when they are no longer
// needed.
func ParseRecords(payload []byte) (*Records, error) {
	return parseRecords(func(out **C.replication_records) C.int32_t {
		return C.lr_replication_records_parse(bytesPointer(payload), C.size_t(len(payload)), out)
	})
}

// ParseRecordsWithin is like ParseRecords, with another limit in bytes for the memory of the values.
func ParseRecordsWithin(payload []byte, maxBytes uint64) (*Records, error) {
	return parseRecords(func(out **C.replication_records) C.int32_t {
		return C.lr_replication_records_parse_within(bytesPointer(payload), C.size_t(len(payload)), C.uint64_t(maxBytes), out)
	})
}

func parseRecords(parse func(out **C.replication_records) C.int32_t) (*Records, error) {
	if err := Load(); err != nil {
		return nil, err
	}
	records := &Records{}
	err := call("parse records", func() C.int32_t { return parse(&records.pointer) })
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(records, func(r *Records) { r.Close() })
	return records, nil
}

// Close releases the records. It frees those of ParseRecords; those passed to a handler belong to the library, which
// frees them when the handler returns. Data that was already read remains valid; later reads return ErrClosed.
func (r *Records) Close() error {
	r.lock.Lock()
	defer r.lock.Unlock()
	if !r.lent {
		runtime.SetFinalizer(r, nil)
		C.lr_replication_records_free(r.pointer)
	}
	r.pointer = nil
	return nil
}

// read makes a call unless the records are closed.
func (r *Records) read(op string, f func() C.int32_t) error {
	r.lock.RLock()
	defer r.lock.RUnlock()
	if r.pointer == nil {
		return &Error{Status: ErrClosed, Op: op, Message: "the records are gone"}
	}
	return call(op, f)
}

// Len returns the number of records.
func (r *Records) Len() int {
	r.lock.RLock()
	defer r.lock.RUnlock()
	return int(C.lr_replication_records_count(r.pointer))
}

// Row returns a record, which is a map.
func (r *Records) Row(row int) (Value, error) {
	return r.find("row", func(out **C.replication_value) C.int32_t {
		return C.lr_replication_records_row(r.pointer, C.size_t(row), out)
	})
}

// Get returns a value by its row and key. If a key occurs more than once, the last one counts.
func (r *Records) Get(row int, key string) (Value, error) {
	k, err := newCString(key)
	if err != nil {
		return Value{}, &Error{Status: ErrNotFound, Op: "get", Message: "a key with a zero byte cannot be asked for: " + strconv.Quote(key)}
	}
	defer k.free()
	return r.find("get", func(out **C.replication_value) C.int32_t {
		return C.lr_replication_records_get(r.pointer, C.size_t(row), k.pointer, out)
	})
}

func (r *Records) find(op string, f func(out **C.replication_value) C.int32_t) (Value, error) {
	var found *C.replication_value
	if err := r.read(op, func() C.int32_t { return f(&found) }); err != nil {
		return Value{}, err
	}
	return Value{r, found}, nil
}

// JSON returns the records as a JSON array. Integers are exact, bytes are base64, extensions are
// {"ext":type,"data":base64}, and floats that are not finite are null.
func (r *Records) JSON() (json.RawMessage, error) {
	var text *C.char
	var n C.size_t
	var copied []byte
	err := r.read("records as json", func() C.int32_t {
		status := C.lr_replication_records_json(r.pointer, &text, &n)
		if Status(status) == StatusOK {
			copied = C.GoBytes(unsafe.Pointer(text), C.int(n))
		}
		return status
	})
	return copied, err
}

// Maps returns the records as Go values, as converted by Value.Interface.
func (r *Records) Maps() ([]map[string]interface{}, error) {
	maps := make([]map[string]interface{}, 0, r.Len())
	for row := 0; row < r.Len(); row++ {
		value, err := r.Row(row)
		if err != nil {
			return nil, err
		}
		record, err := value.Interface()
		if err != nil {
			return nil, err
		}
		m, isMap := record.(map[string]interface{})
		if !isMap {
			return nil, &Error{Status: ErrWrongType, Op: "maps", Message: "a key of row " + strconv.Itoa(row) + " is no text"}
		}
		maps = append(maps, m)
	}
	return maps, nil
}

// A ValueType is the type of a value.
type ValueType int32

// The types of values.
const (
	// TypeNil is nil.
	TypeNil ValueType = 0
	// TypeBool is a boolean.
	TypeBool ValueType = 1
	// TypeInt64 is an integer that fits an int64, whatever its encoding.
	TypeInt64 ValueType = 2
	// TypeUint64 is a larger integer.
	TypeUint64 ValueType = 3
	// TypeFloat64 is a float of either size.
	TypeFloat64 ValueType = 4
	// TypeString is a string.
	TypeString ValueType = 5
	// TypeBytes is a byte string, or a string that is not UTF-8.
	TypeBytes ValueType = 6
	// TypeArray is an array.
	TypeArray ValueType = 7
	// TypeMap is a map.
	TypeMap ValueType = 8
	// TypeExt is an application-defined type with its bytes.
	TypeExt ValueType = 9
)

// A Value is a value within records. It can be read as long as the records are open.
type Value struct {
	records *Records
	pointer *C.replication_value
}

// An Ext is a value of an application-defined type.
type Ext struct {
	Type int8
	Data []byte
}

func (v Value) read(op string, f func() C.int32_t) error {
	if v.records == nil {
		return invalid(op, "the zero Value")
	}
	return v.records.read(op, f)
}

// Type returns the type of the value; TypeNil also after its records are closed.
func (v Value) Type() ValueType {
	t := TypeNil
	_ = v.read("type", func() C.int32_t {
		t = ValueType(C.lr_replication_value_type_of(v.pointer))
		return 0
	})
	return t
}

// Bool returns a boolean.
func (v Value) Bool() (bool, error) {
	var out C._Bool
	err := v.read("bool", func() C.int32_t { return C.lr_replication_value_bool(v.pointer, &out) })
	return bool(out), err
}

// Int64 returns an integer that fits.
func (v Value) Int64() (int64, error) {
	var out C.int64_t
	err := v.read("int64", func() C.int32_t { return C.lr_replication_value_i64(v.pointer, &out) })
	return int64(out), err
}

// Uint64 returns an integer that fits.
func (v Value) Uint64() (uint64, error) {
	var out C.uint64_t
	err := v.read("uint64", func() C.int32_t { return C.lr_replication_value_u64(v.pointer, &out) })
	return uint64(out), err
}

// Float64 returns a float, or the float nearest to an integer.
func (v Value) Float64() (float64, error) {
	var out C.double
	err := v.read("float64", func() C.int32_t { return C.lr_replication_value_f64(v.pointer, &out) })
	return float64(out), err
}

// Text returns a string.
func (v Value) Text() (string, error) {
	var out *C.char
	var n C.size_t
	var copied string
	err := v.read("text", func() C.int32_t {
		status := C.lr_replication_value_string(v.pointer, &out, &n)
		if Status(status) == StatusOK {
			copied = C.GoStringN(out, C.int(n))
		}
		return status
	})
	return copied, err
}

// Bytes returns bytes, or those of a string or an extension.
func (v Value) Bytes() ([]byte, error) {
	var out *C.uint8_t
	var n C.size_t
	var copied []byte
	err := v.read("bytes", func() C.int32_t {
		status := C.lr_replication_value_bytes(v.pointer, &out, &n)
		if Status(status) == StatusOK {
			copied = copyBytes(out, n)
		}
		return status
	})
	return copied, err
}

// ExtType returns the type of an extension; Bytes returns its data.
func (v Value) ExtType() (int8, error) {
	var out C.int8_t
	err := v.read("ext type", func() C.int32_t { return C.lr_replication_value_ext_type(v.pointer, &out) })
	return int8(out), err
}

// Len returns the number of elements in an array or of entries in a map; 0 for other types.
func (v Value) Len() int {
	n := 0
	_ = v.read("len", func() C.int32_t {
		n = int(C.lr_replication_value_count(v.pointer))
		return 0
	})
	return n
}

func (v Value) find(op string, f func(out **C.replication_value) C.int32_t) (Value, error) {
	if v.records == nil {
		return Value{}, invalid(op, "the zero Value")
	}
	return v.records.find(op, f)
}

// At returns an element of an array, or the value of a map entry, in the order of the payload.
func (v Value) At(index int) (Value, error) {
	return v.find("at", func(out **C.replication_value) C.int32_t {
		return C.lr_replication_value_at(v.pointer, C.size_t(index), out)
	})
}

// KeyAt returns the key of a map entry, in the order of the payload.
func (v Value) KeyAt(index int) (Value, error) {
	return v.find("key at", func(out **C.replication_value) C.int32_t {
		return C.lr_replication_value_key_at(v.pointer, C.size_t(index), out)
	})
}

// Get returns a map's value for a key. If a key occurs more than once, the last one counts.
func (v Value) Get(key string) (Value, error) {
	k, err := newCString(key)
	if err != nil {
		return Value{}, &Error{Status: ErrNotFound, Op: "get", Message: "a key with a zero byte cannot be asked for: " + strconv.Quote(key)}
	}
	defer k.free()
	return v.find("get", func(out **C.replication_value) C.int32_t {
		return C.lr_replication_value_get(v.pointer, k.pointer, out)
	})
}

// Interface returns the value as a Go value: nil, bool, int64, uint64 for integers that do not fit an int64, float64,
// string, []byte, []interface{}, map[string]interface{} or Ext. A map with keys that are not strings becomes a
// map[interface{}]interface{}, in which keys that are bytes become strings. If a key occurs more than once, the last
// one counts. Different keys that would become the same key of that map, such as a string and the same bytes, return
// ErrWrongType; Len, KeyAt and At return both.
func (v Value) Interface() (interface{}, error) {
	switch v.Type() {
	case TypeBool:
		return v.Bool()
	case TypeInt64:
		return v.Int64()
	case TypeUint64:
		return v.Uint64()
	case TypeFloat64:
		return v.Float64()
	case TypeString:
		return v.Text()
	case TypeBytes:
		return v.Bytes()
	case TypeExt:
		extType, err := v.ExtType()
		if err != nil {
			return nil, err
		}
		data, err := v.Bytes()
		return Ext{extType, data}, err
	case TypeArray:
		return v.array()
	case TypeMap:
		return v.mapping()
	}
	return nil, v.read("interface", func() C.int32_t { return 0 })
}

func (v Value) array() (interface{}, error) {
	array := make([]interface{}, v.Len())
	for i := range array {
		element, err := v.At(i)
		if err != nil {
			return nil, err
		}
		if array[i], err = element.Interface(); err != nil {
			return nil, err
		}
	}
	return array, nil
}

func (v Value) mapping() (interface{}, error) {
	texts := make(map[string]interface{}, v.Len())
	others := make(map[interface{}]interface{})
	zeros := make(map[bool]bool)
	for i := 0; i < v.Len(); i++ {
		key, err := v.KeyAt(i)
		if err != nil {
			return nil, err
		}
		element, err := v.At(i)
		if err != nil {
			return nil, err
		}
		value, err := element.Interface()
		if err != nil {
			return nil, err
		}
		switch name, err := key.Interface(); name := name.(type) {
		case string:
			texts[name] = value
		case []byte:
			others[string(name)] = value
		case float64:
			if name == 0 {
				zeros[math.Signbit(name)] = true
			}
			others[name] = value
		case nil, bool, int64, uint64:
			others[name] = value
		default:
			if err != nil {
				return nil, err
			}
			return nil, &Error{Status: ErrWrongType, Op: "interface", Message: "a map's key is itself a map, an array or an extension"}
		}
	}
	if len(others) == 0 {
		return texts, nil
	}
	if len(zeros) > 1 {
		return nil, clash("0.0 and -0.0")
	}
	for name, value := range texts {
		if _, found := others[name]; found {
			return nil, clash("the text " + strconv.Quote(name) + " and the same bytes")
		}
		others[name] = value
	}
	return others, nil
}

func clash(keys string) error {
	return &Error{Status: ErrWrongType, Op: "interface", Message: "a map has the keys " + keys + ", which are one key in Go"}
}
