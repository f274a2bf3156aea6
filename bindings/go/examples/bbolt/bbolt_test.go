package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/libreplication/libreplication/bindings/go"
	"github.com/rs/zerolog"
	"go.etcd.io/bbolt"
)

const asProgram = "BBOLT_EXAMPLE_AS_PROGRAM"

// This test program is the example, too.
func TestMain(m *testing.M) {
	if os.Getenv(replication.EnvLibrary) == "" {
		if built, err := filepath.Abs("../../../../build/lib/libreplication.so"); err == nil {
			os.Setenv(replication.EnvLibrary, built)
		}
	}
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A process of the example, with what it prints line by line.
type process struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	lines chan string
}

func start(t *testing.T, ctx context.Context, name string, arguments ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: exec.CommandContext(ctx, os.Args[0], arguments...), lines: make(chan string, 10000)}
	p.cmd.Env = append(os.Environ(), asProgram+"=yes")
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	must(t, err)
	must(t, p.cmd.Start())
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); _, _ = p.cmd.Process.Wait() })
	go func(out io.Reader) {
		defer close(p.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			p.lines <- scanner.Text()
		}
	}(out)
	return p
}

// wait returns the next line that contains a text.
func (p *process) wait(text string) string {
	p.t.Helper()
	for line := range p.lines {
		if strings.Contains(line, text) {
			return line
		}
	}
	p.t.Fatalf("%s ended before it said %q", p.name, text)
	return ""
}

func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	for range p.lines {
	}
	_ = p.cmd.Wait()
}

func (p *process) stop() {
	p.t.Helper()
	must(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	for range p.lines {
	}
	must(p.t, p.cmd.Wait())
}

// The writer and a reader are killed in the middle and started again; at the end all databases have the same.
func TestKilledProcessesLoseNothing(t *testing.T) {
	const transfers = 3000
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	dir := t.TempDir()
	databases := map[string]string{}
	for _, name := range []string{"writer", "one", "two"} {
		databases[name] = filepath.Join(dir, name+".db")
	}
	address := "127.0.0.1:0"
	startWriter := func() *process {
		p := start(t, ctx, "the writer", "writer", "-database", databases["writer"], "-log", filepath.Join(dir, "log"),
			"-listen", address, "-transfers", fmt.Sprint(transfers), "-readers", "2", "-pause", "500us")
		var port int
		if _, err := fmt.Sscanf(p.wait("listening"), "listening on port %d", &port); err != nil {
			t.Fatal(err)
		}
		address = fmt.Sprintf("127.0.0.1:%d", port)
		return p
	}
	startReader := func(name string) *process {
		p := start(t, ctx, name, "reader", "-database", databases[name], "-writer", address, "-id", name)
		p.wait("following")
		return p
	}
	w := startWriter()
	one, two := startReader("one"), startReader("two")
	for round := 1; round <= 2; round++ {
		w.wait(fmt.Sprintf("%d transfers", 700*round))
		one.kill()
		w.wait(fmt.Sprintf("%d transfers", 700*round+100))
		one = startReader("one")
		w.wait(fmt.Sprintf("%d transfers", 700*round+300))
		w.kill()
		w = startWriter()
	}
	w.wait("2 readers have everything")
	w.stop()
	one.stop()
	two.stop()

	want, err := scan(databases["writer"])
	must(t, err)
	if want.transfers != transfers || want.accounts != accounts || want.total != accounts*startBalance || want.history != kept {
		t.Errorf("the writer has %+v", want)
	}
	for _, name := range []string{"one", "two"} {
		got, err := scan(databases[name])
		must(t, err)
		if got != want {
			t.Errorf("reader %s has %+v, the writer %+v", name, got, want)
		}
	}
}

// A crash between the database's commit and the log: the entry comes from the outbox.
func TestWhatTheLogLacksComesFromTheOutbox(t *testing.T) {
	dir := t.TempDir()
	database, log := filepath.Join(dir, "db"), filepath.Join(dir, "log")
	w, err := openWriter(database, log)
	must(t, err)
	must(t, w.sender.Start(context.Background()))
	must(t, w.update(openAccounts))
	must(t, w.update(openAccounts)) // changes nothing, and is no entry
	must(t, w.db.Update(func(tx *bbolt.Tx) error {
		r := &recorder{tx: tx}
		if _, err := transfer(r); err != nil {
			return err
		}
		payload, err := encode(r.changes)
		if err != nil {
			return err
		}
		return store(tx, 2, payload)
	}))
	if n := w.sender.CurrentSequence(); n != 1 {
		t.Fatalf("the log ends at %d", n)
	}
	must(t, w.close())

	w, err = openWriter(database, log)
	must(t, err)
	must(t, w.sender.Start(context.Background()))
	must(t, w.catchUp())
	must(t, w.catchUp())
	if n := w.sender.CurrentSequence(); n != 2 {
		t.Errorf("the log ends at %d", n)
	}
	port, err := w.sender.Listen("127.0.0.1:0")
	must(t, err)
	copied := filepath.Join(dir, "copy")
	r, err := openReader(copied, "copy", net.JoinHostPort("127.0.0.1", fmt.Sprint(port)), zerolog.Nop())
	must(t, err)
	must(t, r.receiver.Start(context.Background()))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	must(t, r.receiver.WaitSequence(ctx, 2))
	must(t, r.close())
	must(t, w.close())
	want, err := scan(database)
	must(t, err)
	got, err := scan(copied)
	must(t, err)
	if got != want || got.transfers != 1 {
		t.Errorf("%+v and %+v", got, want)
	}
	if _, err := openReader(database, "copy", "127.0.0.1:1", zerolog.Nop()); err == nil {
		t.Error("a reader took the writer's database")
	}
}

// A transaction that fails leaves nothing, in no database.
func TestATransactionThatFailsIsNoEntry(t *testing.T) {
	dir := t.TempDir()
	w, err := openWriter(filepath.Join(dir, "db"), filepath.Join(dir, "log"))
	must(t, err)
	defer w.close()
	must(t, w.sender.Start(context.Background()))
	wrong := errors.New("wrong")
	err = w.update(func(r *recorder) error {
		if err := r.put("accounts", "nobody", []byte("1")); err != nil {
			return err
		}
		return wrong
	})
	if !errors.Is(err, wrong) || w.sender.CurrentSequence() != 0 {
		t.Errorf("%v, the log ends at %d", err, w.sender.CurrentSequence())
	}
	if err := w.update(func(r *recorder) error { return r.put(string(ownBucket), "x", nil) }); err == nil {
		t.Error("the replication's own bucket was changed")
	}
}
