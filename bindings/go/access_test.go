package replication_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libreplication/libreplication/bindings/go"
)

// readerRights returns the rights of a connected reader as the statistics have them, or "".
func readerRights(s *replication.Sender, id string) string {
	for _, row := range s.Stats()["readers"].([]map[string]interface{}) {
		if row["reader_id"] == id {
			return row["rights"].(string)
		}
	}
	return ""
}

func TestAccessRules(t *testing.T) {
	checkLeaks(t)
	var events eventLog
	s, address := startSender(t, &replication.SenderConfig{AccessRules: "* * * allowed read,ack", EventHandler: events.add})
	var refused eventLog
	cfg, _ := follow(address, "stranger")
	cfg.EventHandler = refused.add
	stranger := startReceiver(t, cfg)
	if event := refused.first(t, replication.EventRefused); event.Status != replication.ErrNotAuthorized {
		t.Errorf("%+v", event)
	}
	if event := events.first(t, replication.EventRefused); !strings.Contains(event.Message, "no line of the access rules") {
		t.Errorf("%+v", event)
	}
	cfg, _ = follow(address, "allowed")
	r := startReceiver(t, cfg)
	must(t, r.WaitSequence(within(t), appendTexts(t, s, "x")))
	if rights := readerRights(s, "allowed"); rights != "read,ack" {
		t.Errorf("rights %q", rights)
	}
	err := s.SetAccessRules("* * * * write")
	if !errors.Is(err, replication.ErrInvalidArgument) || !strings.Contains(err.Error(), "line 1, column 9") {
		t.Error(err)
	}
	must(t, s.SetAccessRules("* * * stranger read"))
	must(t, stranger.WaitSequence(within(t), 1))
	eventually(t, "the other one to be sent away", func() bool { return readerRights(s, "allowed") == "" })
	if err := s.ReloadAccessFile(); !errors.Is(err, replication.ErrInvalidState) {
		t.Error(err)
	}
}

func TestAccessFile(t *testing.T) {
	checkLeaks(t)
	file := filepath.Join(t.TempDir(), "access.conf")
	must(t, os.WriteFile(file, []byte("* * * a read\n"), 0o600))
	s, address := startSender(t, &replication.SenderConfig{AccessFile: file})
	must(t, os.WriteFile(file, []byte("* * * b read\n"), 0o600))
	must(t, s.ReloadAccessFile())
	cfg, _ := follow(address, "b")
	r := startReceiver(t, cfg)
	must(t, r.WaitSequence(within(t), appendTexts(t, s, "x")))
	for _, cfg := range []*replication.SenderConfig{
		{AccessRules: "read"},
		{AccessFile: "/nowhere/access.conf"},
		{AccessRules: "* * * * read", TrustedNetwork: true},
	} {
		if s, err := replication.OpenSender(cfg); err == nil {
			s.Close()
			t.Errorf("%+v is taken", cfg)
		}
	}
}

func TestRightsOfTheHost(t *testing.T) {
	checkLeaks(t)
	s, _ := startSender(t, &replication.SenderConfig{AccessRules: "* * * * deny"})
	cfg, _ := follow("127.0.0.1:1", "handed")
	cfg.Dial = func(context.Context, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		return ours, s.AcceptConnectionWithRights(theirs, replication.RightRead|replication.RightAck)
	}
	r := startReceiver(t, cfg)
	must(t, r.WaitSequence(within(t), appendTexts(t, s, "x")))
	if rights := readerRights(s, "handed"); rights != "read,ack" {
		t.Errorf("rights %q", rights)
	}
	ours, theirs := net.Pipe()
	defer ours.Close()
	if err := s.AcceptReaderWithRights(theirs, "r", 0, replication.RightAck); !errors.Is(err, replication.ErrInvalidArgument) {
		t.Error(err)
	}
	must(t, s.AcceptReaderWithRights(theirs, "known", 0, replication.RightRead))
	eventually(t, "the reader", func() bool { return readerRights(s, "known") == "read" })
}
