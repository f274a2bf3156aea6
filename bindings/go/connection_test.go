package replication_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libreplication/libreplication/bindings/go"
)

// An identity is a certificate for "writer" and this machine, its authority, and the PEM files of all.
type identity struct {
	certificate               tls.Certificate
	authorities               *x509.CertPool
	caFile, certFile, keyFile string
}

func newIdentity(t *testing.T) identity {
	t.Helper()
	dir := t.TempDir()
	id := identity{caFile: filepath.Join(dir, "ca.pem"), certFile: filepath.Join(dir, "cert.pem"), keyFile: filepath.Join(dir, "key.pem")}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	ca, leaf := template, template
	ca.Subject, ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = pkix.Name{CommonName: "authority"}, true, true, x509.KeyUsageCertSign
	leaf.Subject, leaf.DNSNames, leaf.IPAddresses = pkix.Name{CommonName: "writer"}, []string{"writer"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	caDER, err := x509.CreateCertificate(rand.Reader, &ca, &ca, &caKey.PublicKey, caKey)
	must(t, err)
	leafDER, err := x509.CreateCertificate(rand.Reader, &leaf, &ca, &key.PublicKey, caKey)
	must(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	must(t, os.WriteFile(id.caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), 0o600))
	must(t, os.WriteFile(id.certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER}), 0o600))
	must(t, os.WriteFile(id.keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	id.certificate, err = tls.LoadX509KeyPair(id.certFile, id.keyFile)
	must(t, err)
	authority, err := x509.ParseCertificate(caDER)
	must(t, err)
	id.authorities = x509.NewCertPool()
	id.authorities.AddCert(authority)
	return id
}

// Both ends over net.Pipe, which has no descriptor: two bridges.
func TestConnectionsWithoutADescriptor(t *testing.T) {
	checkLeaks(t)
	s, _ := startSender(t, nil)
	cfg, got := follow("127.0.0.1:1", "piped")
	var dials atomic.Int32
	cfg.Dial = func(_ context.Context, addr string) (net.Conn, error) {
		if addr != "127.0.0.1:1" {
			return nil, fmt.Errorf("asked for %q", addr)
		}
		dials.Add(1)
		ours, theirs := net.Pipe()
		return ours, s.AcceptConnection(theirs)
	}
	r := startReceiver(t, cfg)
	for i := 0; i < 100; i++ {
		appendTexts(t, s, strings.Repeat("x", i*100))
	}
	must(t, r.WaitSequence(within(t), 100))
	if n := len(got.payloads()); n != 100 {
		t.Errorf("%d entries", n)
	}
	// A connection that the sender closes is made anew.
	must(t, s.Disconnect("piped"))
	must(t, r.WaitSequence(within(t), appendTexts(t, s, "more")))
	if n := dials.Load(); n < 2 {
		t.Errorf("%d dials", n)
	}
}

// The host reads the Sync from a net.Pipe itself.
func TestAcceptReaderOverAPipe(t *testing.T) {
	checkLeaks(t)
	s, _ := startSender(t, nil)
	appendTexts(t, s, "one", "two")
	ours, theirs := net.Pipe()
	defer ours.Close()
	must(t, theirs.SetDeadline(time.Now().Add(-time.Hour))) // of the host's own reading
	must(t, s.AcceptReader(theirs, "old", 1))
	msgType, payload, err := replication.ReadMessage(ours)
	must(t, err)
	ack, err := replication.ParseSyncAck(payload)
	must(t, err)
	if msgType != replication.MsgReplicateSyncAck || !ack.CanResume || ack.CurrentSequence != 2 {
		t.Fatalf("%#x %+v", msgType, ack)
	}
	_, payload, err = replication.ReadMessage(ours)
	must(t, err)
	entry, err := replication.ParseEntry(payload)
	must(t, err)
	if entry.Sequence != 2 || string(entry.Payload) != "two" {
		t.Errorf("%+v", entry)
	}
	must(t, replication.WriteAck(ours, &replication.ReplicateAck{LastSequence: 2, ReaderID: "old"}))
	_, err = s.WaitAcked(within(t), 2, replication.AckReceived, 1)
	must(t, err)
	must(t, s.Stop())
	if _, _, err := replication.ReadMessage(ours); !errors.Is(err, io.EOF) {
		t.Errorf("after the stop: %v", err)
	}
}

// A peer that takes nothing must not hold up the end.
func TestAStuckPipeDoesNotHoldUpClose(t *testing.T) {
	checkLeaks(t)
	s, _ := startSender(t, &replication.SenderConfig{WriteTimeout: 50 * time.Millisecond, StopTimeout: -1})
	ours, theirs := net.Pipe()
	defer ours.Close()
	must(t, s.AcceptReader(theirs, "stuck", 0))
	appendTexts(t, s, strings.Repeat("x", 1<<20))
	if err := s.Close(); err != nil && !errors.Is(err, replication.ErrTimeout) {
		t.Fatal(err)
	}
	if _, err := theirs.Write(nil); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("the connection is still open: %v", err)
	}
}

func TestTLSOfGoOnBothEnds(t *testing.T) {
	checkLeaks(t)
	id := newIdentity(t)
	s, _ := startSender(t, nil)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{id.certificate}})
	must(t, err)
	defer listener.Close()
	go serve(listener, s)
	cfg, got := follow(listener.Addr().String(), "encrypted")
	cfg.TLSConfig = &tls.Config{RootCAs: id.authorities}
	r := startReceiver(t, cfg)
	last := appendTexts(t, s, "a", strings.Repeat("b", 1<<20), "c")
	must(t, r.WaitSequence(within(t), last))
	if n := len(got.payloads()); n != 3 {
		t.Errorf("%d entries", n)
	}
	must(t, r.Close())
	eventually(t, "the reader's leaving", func() bool { return s.ReaderCount() == 0 })
}

// What Go could not dial is told with Go's error.
func TestAConnectionThatGoCannotMake(t *testing.T) {
	checkLeaks(t)
	id := newIdentity(t)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{id.certificate}})
	must(t, err)
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()
	var events eventLog
	cfg, _ := follow(listener.Addr().String(), "distrustful")
	cfg.TLSConfig = &tls.Config{RootCAs: x509.NewCertPool()}
	cfg.EventHandler = events.add
	startReceiver(t, cfg)
	event := events.first(t, replication.EventDisconnected)
	var unknown x509.UnknownAuthorityError
	if !errors.As(event.Cause, &unknown) || !strings.Contains(event.Message, "unknown authority") {
		t.Errorf("%+v", event)
	}
}

func TestTLSOfTheLibrary(t *testing.T) {
	checkLeaks(t)
	id := newIdentity(t)
	s, address := startSender(t, &replication.SenderConfig{
		TLS: &replication.SenderTLS{CertificateFile: id.certFile, KeyFile: id.keyFile, ClientCAFile: id.caFile},
	})
	cfg, _ := follow(address, "writer")
	cfg.TLS = &replication.ReceiverTLS{CAFile: id.caFile, ServerName: "writer", CertificateFile: id.certFile, KeyFile: id.keyFile}
	r := startReceiver(t, cfg)
	must(t, r.WaitSequence(within(t), appendTexts(t, s, "x")))
	if r.Stats()["tls"] != true {
		t.Error("it is not encrypted")
	}
}

// Each end may leave the encryption to another: Go's at the reader, the library's at the writer, with a certificate of the
// reader and without.
func TestTLSOfGoToTheLibrary(t *testing.T) {
	id := newIdentity(t)
	for name, test := range map[string]struct {
		clientCAs string
		reader    []tls.Certificate
	}{
		"one certificate":  {"", nil},
		"two certificates": {id.caFile, []tls.Certificate{id.certificate}},
	} {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			s, address := startSender(t, &replication.SenderConfig{
				TLS: &replication.SenderTLS{CertificateFile: id.certFile, KeyFile: id.keyFile, ClientCAFile: test.clientCAs},
			})
			cfg, got := follow(address, "writer")
			cfg.TLSConfig = &tls.Config{RootCAs: id.authorities, Certificates: test.reader}
			r := startReceiver(t, cfg)
			last := appendTexts(t, s, "a", strings.Repeat("b", 1<<20), "c")
			must(t, r.WaitSequence(within(t), last))
			if texts := got.payloads(); len(texts) != 3 || texts[2] != "c" {
				t.Errorf("%d entries", len(texts))
			}
			if readers := s.Stats()["readers"].([]map[string]interface{}); len(readers) != 1 || readers[0]["tls"] != true {
				t.Errorf("it is not encrypted: %v", readers)
			}
			must(t, s.Disconnect("writer")) // and again
			must(t, r.WaitSequence(within(t), appendTexts(t, s, "d")))
		})
	}
}

// A writer of the library's that wants a certificate refuses a reader that has none.
func TestTLSOfGoWithoutACertificateThatIsWanted(t *testing.T) {
	checkLeaks(t)
	id := newIdentity(t)
	s, address := startSender(t, &replication.SenderConfig{
		TLS: &replication.SenderTLS{CertificateFile: id.certFile, KeyFile: id.keyFile, ClientCAFile: id.caFile},
	})
	var events eventLog
	cfg, _ := follow(address, "nobody")
	cfg.TLSConfig = &tls.Config{RootCAs: id.authorities}
	cfg.EventHandler = events.add
	r := startReceiver(t, cfg)
	events.first(t, replication.EventDisconnected)
	if s.ReaderCount() != 0 || r.IsConnected() {
		t.Error("it is connected")
	}
}

// Without success a connection stays the caller's, and usable.
func TestAConnectionThatIsRefusedStaysOpen(t *testing.T) {
	checkLeaks(t)
	s, err := replication.OpenSender(nil)
	must(t, err)
	defer s.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	tcp := dialTCP(t, listener.Addr().String())
	accepted, err := listener.Accept()
	must(t, err)
	defer accepted.Close()
	ours, theirs := net.Pipe()
	defer ours.Close()
	for _, conn := range []net.Conn{accepted, theirs} {
		if err := s.AcceptReader(conn, "early", 0); !errors.Is(err, replication.ErrInvalidState) {
			t.Errorf("before the start: %v", err)
		}
		if err := s.AcceptReader(conn, "", 0); !errors.Is(err, replication.ErrInvalidArgument) {
			t.Errorf("without an id: %v", err)
		}
		go conn.Write([]byte("x"))
	}
	for _, conn := range []net.Conn{tcp, ours} {
		if n, err := conn.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("it is not open: %v", err)
		}
	}
	if err := s.AcceptConnection(nil); !errors.Is(err, replication.ErrInvalidArgument) {
		t.Errorf("nil: %v", err)
	}
	tcp.Close()
	must(t, s.Start(context.Background()))
	closed := dialTCP(t, listener.Addr().String())
	closed.Close()
	if err := s.AcceptConnection(closed); !errors.Is(err, replication.ErrBadDescriptor) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed connection: %v", err)
	}
}

func TestADialHandlerMayWaitForItsContext(t *testing.T) {
	checkLeaks(t)
	cfg, _ := follow("127.0.0.1:1", "patient")
	dialling := make(chan struct{}, 100)
	cfg.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
		dialling <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	r := startReceiver(t, cfg)
	<-dialling
	began := time.Now()
	must(t, r.Close())
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("closing took %v", took)
	}
}

func TestTLSIsRenewed(t *testing.T) {
	checkLeaks(t)
	id := newIdentity(t)
	files := &replication.SenderTLS{CertificateFile: id.certFile, KeyFile: id.keyFile, ClientCAFile: id.caFile}
	s, address := startSender(t, &replication.SenderConfig{TLS: files})
	cfg, _ := follow(address, "writer")
	cfg.TLS = &replication.ReceiverTLS{CAFile: id.caFile, CertificateFile: id.certFile, KeyFile: id.keyFile}
	r := startReceiver(t, cfg)
	must(t, r.WaitSequence(within(t), appendTexts(t, s, "x")))
	must(t, s.ReloadTLS(true))
	must(t, s.SetTLS(files, true))
	must(t, r.ReloadTLS())
	must(t, r.SetTLS(cfg.TLS))
	for _, err := range []error{
		s.SetTLS(nil, false),
		r.SetTLS(nil),
		s.SetTLS(&replication.SenderTLS{CertificateFile: id.certFile, KeyFile: id.caFile}, false),
		s.SetTLS(&replication.SenderTLS{CertificateFile: id.certFile, KeyFile: id.keyFile, ClientCAFile: id.caFile, CRLFile: id.caFile}, false),
		r.SetTLS(&replication.ReceiverTLS{CAFile: id.keyFile}),
	} {
		if !errors.Is(err, replication.ErrInvalidArgument) {
			t.Error(err)
		}
	}
	must(t, s.Disconnect("writer"))
	must(t, r.WaitSequence(within(t), appendTexts(t, s, "y")))
	if _, err := replication.OpenSender(&replication.SenderConfig{
		TLS: &replication.SenderTLS{CertificateFile: id.certFile, KeyFile: id.keyFile, CRLFile: id.caFile},
	}); !errors.Is(err, replication.ErrInvalidState) && !errors.Is(err, replication.ErrInvalidArgument) {
		t.Error(err)
	}
	plain, _ := startSender(t, nil)
	if err := plain.ReloadTLS(false); !errors.Is(err, replication.ErrInvalidState) {
		t.Error(err)
	}
}
