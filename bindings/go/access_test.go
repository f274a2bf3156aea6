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

func TestWriterIdentity(t *testing.T) {
	checkLeaks(t)
	_, address := startSender(t, nil)
	cfg, _ := follow(address, "reader")
	var events eventLog
	cfg.WriterIdentity, cfg.EventHandler = "certificate uid:0", events.add
	r := startReceiver(t, cfg)
	if event := events.first(t, replication.EventRefused); event.Status != replication.ErrNotAuthorized || r.IsConnected() {
		t.Errorf("%+v", event)
	}
	cfg, _ = follow(address, "reader")
	cfg.WriterIdentity = "nobody"
	if _, err := replication.OpenReceiver(cfg); !errors.Is(err, replication.ErrInvalidArgument) {
		t.Error(err)
	}
}

func TestAuthorizeHandler(t *testing.T) {
	checkLeaks(t)
	var s *replication.Sender
	ready, later := make(chan struct{}), make(chan replication.AccessRequest, 10)
	var events eventLog
	s, address := startSender(t, &replication.SenderConfig{
		EventHandler: events.add,
		AuthorizeHandler: func(request replication.AccessRequest) {
			<-ready
			switch request.ReaderID {
			case "now":
				must(t, s.Authorize(request.Ticket, replication.RightRead|replication.RightAck))
			case "never":
				must(t, s.Refuse(request.Ticket, "it is not in the list"))
			case "panics":
				panic("authorize")
			default:
				later <- request
			}
		},
	})
	close(ready)
	last := appendTexts(t, s, "x")
	follows := func(id string) *replication.Receiver {
		cfg, _ := follow(address, id)
		return startReceiver(t, cfg)
	}
	must(t, follows("now").WaitSequence(within(t), last))
	follows("never")
	follows("panics")
	if event := events.first(t, replication.EventRefused); !strings.Contains(event.Message, "it is not in the list") {
		t.Errorf("%+v", event)
	}
	waits := follows("waits")
	request := <-later
	if request.Identity != "none" || request.TLS || request.Handed || request.Sequence != 0 || request.StreamID != nil ||
		request.Rights&replication.RightRead == 0 || !strings.HasPrefix(request.Address, "127.0.0.1:") {
		t.Errorf("%+v", request)
	}
	must(t, s.Authorize(request.Ticket, replication.RightRead))
	must(t, waits.WaitSequence(within(t), last))
	if rights := readerRights(s, "waits"); rights != "read" {
		t.Errorf("rights %q", rights)
	}
	if err := s.Authorize(request.Ticket, replication.RightRead); !errors.Is(err, replication.ErrNotFound) {
		t.Error(err)
	}
	if err := s.Refuse(4711, ""); !errors.Is(err, replication.ErrNotFound) {
		t.Error(err)
	}
}
