package replication_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/libreplication/libreplication/bindings/go"
)

const fifthToken = "30313233343536373839616263646566:1:5:00000000000000ab"

func TestTokensAreOrderedAsFarAsTheyTell(t *testing.T) {
	fifth, err := replication.ParseTokenText(fifthToken)
	must(t, err)
	if text, err := fifth.Text(); err != nil || text != fifthToken {
		t.Errorf("%q, %v", text, err)
	}
	for change, expected := range map[[2]string]replication.TokenOrder{
		{":5:", ":5:"}:     replication.TokenEqual,
		{":5:", ":6:"}:     replication.TokenBefore,
		{":5:", ":4:"}:     replication.TokenAfter,
		{":1:5:", ":2:6:"}: replication.TokenUnknown,
		{"ab", "cd"}:       replication.TokenDiverged,
	} {
		other, err := replication.ParseTokenText(strings.Replace(fifthToken, change[0], change[1], 1))
		must(t, err)
		if order, err := fifth.Compare(other); err != nil || order != expected {
			t.Errorf("%v: %v, %v", change, order, err)
		}
	}
}

func TestWhatIsNoTokenIsRefused(t *testing.T) {
	if _, err := replication.ParseTokenText("1:2:3:4"); !errors.Is(err, replication.ErrInvalidArgument) {
		t.Error(err)
	}
	var none replication.Token
	if _, err := none.Text(); !errors.Is(err, replication.ErrInvalidArgument) {
		t.Error(err)
	}
	if _, err := none.Compare(none); !errors.Is(err, replication.ErrInvalidArgument) {
		t.Error(err)
	}
}
