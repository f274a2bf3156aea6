package replication

import (
	"encoding/json"
	"strings"
)

// decodeStats converts statistics to Go types: sequences, lags and epochs to uint64; numbers and limits of entries,
// readers and files, and the protocol, to int; bytes and counters to int64; durations in seconds to float64; times to
// their RFC 3339 text or nil.
func decodeStats(text string) (map[string]interface{}, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var stats map[string]interface{}
	if err := decoder.Decode(&stats); err != nil {
		return nil, err
	}
	typeStats(stats)
	return stats, nil
}

func typeStats(stats map[string]interface{}) {
	for key, value := range stats {
		switch value := value.(type) {
		case json.Number:
			stats[key] = typeNumber(key, value)
		case []interface{}:
			rows := make([]map[string]interface{}, 0, len(value))
			for _, row := range value {
				if row, isMap := row.(map[string]interface{}); isMap {
					typeStats(row)
					rows = append(rows, row)
				}
			}
			stats[key] = rows
		}
	}
}

func typeNumber(key string, number json.Number) interface{} {
	switch {
	case key == "connection_duration_sec":
		if value, err := number.Float64(); err == nil {
			return value
		}
	case strings.HasSuffix(key, "sequence"), strings.HasSuffix(key, "_seq"), strings.HasPrefix(key, "lag"), key == "epoch":
		if value, err := parseUint(number); err == nil {
			return value
		}
	case key == "buffer_size", key == "buffer_used", key == "reader_count", key == "protocol", key == "wal_segments":
		if value, err := number.Int64(); err == nil {
			return int(value)
		}
	}
	if value, err := number.Int64(); err == nil {
		return value
	}
	if value, err := parseUint(number); err == nil {
		return value
	}
	value, _ := number.Float64()
	return value
}

func parseUint(number json.Number) (uint64, error) {
	var value uint64
	err := json.Unmarshal([]byte(number), &value)
	return value, err
}
