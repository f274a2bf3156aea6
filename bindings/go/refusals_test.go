package replication

import (
	"testing"
	"time"
)

// The first refusal of each second is logged, the very first one included, with the number of those between.
func TestRefusalsAreLoggedOnceASecond(t *testing.T) {
	var r refusals
	for _, step := range []struct {
		now        time.Duration
		suppressed int64
		due        bool
	}{
		{0, 0, true},
		{time.Millisecond, 0, false},
		{999 * time.Millisecond, 0, false},
		{time.Second, 2, true},
		{time.Second + time.Millisecond, 0, false},
		{time.Hour, 1, true},
	} {
		if suppressed, due := r.due(step.now); suppressed != step.suppressed || due != step.due {
			t.Errorf("after %v: %d, %v; expected %d, %v", step.now, suppressed, due, step.suppressed, step.due)
		}
	}
}
