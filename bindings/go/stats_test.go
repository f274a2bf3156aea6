package replication_test

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/libreplication/libreplication/bindings/go"
)

// The types that the comment of Sender.Stats tells of, of every key that there is with logs on disk.
func TestTheTypesOfStatistics(t *testing.T) {
	checkLeaks(t)
	dir := t.TempDir()
	s, address := startSender(t, &replication.SenderConfig{WAL: &replication.SenderWAL{Dir: filepath.Join(dir, "writer")}})
	cfg, _ := follow(address, "reader")
	cfg.WAL = &replication.ReceiverWAL{Dir: filepath.Join(dir, "reader")}
	r := startReceiver(t, cfg)
	for i := 0; i < 2; i++ { // the first one is counted as sent when the second one is
		sequence := appendTexts(t, s, "x")
		must(t, r.WaitSequence(within(t), sequence))
		_, err := s.WaitAcked(within(t), sequence, replication.AckApplied, 1)
		must(t, err)
	}
	sender := s.Stats()
	reader := sender["readers"].([]map[string]interface{})[0]
	for _, test := range []struct {
		stats     map[string]interface{}
		like      interface{}
		keys, nil string
	}{
		{sender, true, "running writable write_gate_open", ""},
		{sender, uint64(0), "current_sequence oldest_sequence epoch wal_written_sequence wal_durable_sequence", ""},
		{sender, 0, "buffer_size buffer_used reader_count wal_segments", ""},
		{sender, int64(0), "buffer_bytes buffer_bytes_used wal_bytes total_entries_received total_entries_refused " +
			"total_entries_cut_off total_entries_dropped total_entries_sent total_bytes_sent total_readers_cut_off " +
			"total_readers_refused total_protocol_errors total_entries_gated total_write_gate_closed", ""},
		{sender, "", "stream_id wal_dir", "wal_error"},
		{sender, []map[string]interface{}{}, "readers", ""},
		{reader, true, "tls", ""},
		{reader, uint64(0), "last_ack_seq received_sequence durable_sequence applied_sequence sent_sequence " +
			"lag lag_ms lag_bytes slot_sequence", ""},
		{reader, 0, "protocol", ""},
		{reader, int64(0), "entries_sent bytes_sent errors slot_held_bytes", ""},
		{reader, "", "reader_id address connected_since last_send_time slot_state", ""},
		{r.Stats(), true, "running connected tls paused", ""},
		{r.Stats(), uint64(0), "epoch last_sequence received_sequence durable_sequence writer_sequence lag lag_ms " +
			"wal_written_sequence wal_durable_sequence wal_oldest_sequence", ""},
		{r.Stats(), 0, "protocol wal_segments", ""},
		{r.Stats(), int64(0), "buffer_bytes buffer_bytes_used wal_bytes total_entries_received total_bytes_received " +
			"total_entries_applied total_apply_failures total_entries_skipped total_gaps_passed total_entries_missing " +
			"total_connects total_errors", ""},
		{r.Stats(), 0.5, "connection_duration_sec", ""},
		{r.Stats(), "", "connected_since writer_addr reader_id stream_id last_receive_time wal_dir", "last_error"},
	} {
		for _, key := range strings.Fields(test.keys) {
			if got := test.stats[key]; reflect.TypeOf(got) != reflect.TypeOf(test.like) {
				t.Errorf("%s is %T %v instead of %T", key, got, got, test.like)
			}
		}
		for _, key := range strings.Fields(test.nil) {
			if got, there := test.stats[key]; !there || got != nil {
				t.Errorf("%s is %v instead of nil", key, got)
			}
		}
	}
}
