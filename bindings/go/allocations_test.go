//go:build !race

package replication_test

import (
	"testing"

	"github.com/libreplication/libreplication/bindings/go"
)

// The race detector allocates by itself, so this is not a test for it.
func TestSendingAllocatesNothing(t *testing.T) {
	s, _ := startSender(t, nil)
	payload := make([]byte, 256)
	entry := &replication.ReplicateEntry{Payload: payload}
	batch := [][]byte{payload, nil, payload}
	for name, send := range map[string]func(){
		"Append": func() {
			if _, err := s.Append(1, payload); err != nil {
				t.Error(err)
			}
		},
		"Replicate": func() { s.Replicate(entry) },
		"AppendBatch": func() {
			if _, err := s.AppendBatch(1, batch); err != nil {
				t.Error(err)
			}
		},
	} {
		if n := testing.AllocsPerRun(1000, send); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
