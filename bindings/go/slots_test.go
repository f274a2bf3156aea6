package replication

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestSlotsThatDoNotDecode(t *testing.T) {
	_, err := decodeSlots(`[{"sequence":-1}]`)
	var own *Error
	var cause *json.UnmarshalTypeError
	if !errors.As(err, &own) || own.Status != ErrDecodeFailed || !errors.As(err, &cause) {
		t.Errorf("%v", err)
	}
}
