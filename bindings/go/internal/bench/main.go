// Bench measures what an entry costs in Go, beside what it costs in C: a sender and a receiver in one process over the
// loopback, whose handler counts. Programs of both languages run in turns, and medians are compared. It also counts what
// the sending side allocates.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/libreplication/libreplication/bindings/go"
)

// most is how many times C's cost an entry may cost in Go.
const most = 2.0

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench-go: ")
	baseline := flag.String("baseline", "", "the C program")
	entries := flag.Int("entries", 2000000, "entries of a round")
	size := flag.Int("bytes", 256, "bytes of a payload")
	rounds := flag.Int("rounds", 5, "rounds")
	mode := flag.String("mode", "", "measure one way in this process: append or batch")
	flag.Parse()
	if *mode != "" {
		took, err := measure(*mode, *entries, *size)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%.2f\n", float64(took.Nanoseconds())/float64(*entries))
		return
	}
	n, bytes := strconv.Itoa(*entries), strconv.Itoa(*size)
	ways := []struct {
		name    string
		command []string
		ns      []float64
	}{
		{"C, sender_replicate", []string{*baseline, n, bytes}, nil},
		{"Go, Append", []string{os.Args[0], "-mode=append", "-entries=" + n, "-bytes=" + bytes}, nil},
		{"Go, AppendBatch of 64", []string{os.Args[0], "-mode=batch", "-entries=" + n, "-bytes=" + bytes}, nil},
	}
	for round := 0; round < *rounds; round++ {
		for i := range ways {
			command := exec.Command(ways[i].command[0], ways[i].command[1:]...)
			command.Stderr = os.Stderr
			out, err := command.Output()
			if err != nil {
				log.Fatalf("%s: %v", ways[i].name, err)
			}
			ns, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
			if err != nil {
				log.Fatal(err)
			}
			ways[i].ns = append(ways[i].ns, ns)
		}
	}
	fmt.Printf("%d entries of %d bytes, 1 reader with a handler that counts, medians of %d rounds in turns\n", *entries, *size, *rounds)
	c := median(ways[0].ns)
	for _, way := range ways {
		ns := median(way.ns)
		fmt.Printf("  %-24s %7.1f ns/entry  %6.2f M entries/s  %5.2f x C\n", way.name, ns, 1e3/ns, ns/c)
	}
	ratio := median(ways[1].ns) / c
	fmt.Printf("target: Go at most %.2f x C, Append: %.2f, %s\n", most, ratio, verdict(ratio <= most))
	counted, err := allocations(*size)
	if err != nil {
		log.Fatal(err)
	}
	for _, way := range counted {
		fmt.Printf("target: no allocation for an entry, %s: %g a call, %s\n", way.name, way.perCall, verdict(way.perCall == 0))
	}
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "MISSED"
}

func median(values []float64) float64 {
	sorted := append([]float64(nil), values...)
	sort.Float64s(sorted)
	return sorted[len(sorted)/2]
}

func measure(mode string, entries, size int) (time.Duration, error) {
	ctx := context.Background()
	sender, err := replication.OpenSender(&replication.SenderConfig{
		FullPolicy: replication.FullWait, FullWait: 10 * time.Second, BufferSize: 1000000,
	})
	if err != nil {
		return 0, err
	}
	defer sender.Close()
	if err := sender.Start(ctx); err != nil {
		return 0, err
	}
	port, err := sender.Listen("127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	counted := 0
	receiver, err := replication.OpenReceiver(&replication.ReceiverConfig{
		ReaderID: "counter", WriterAddr: fmt.Sprintf("127.0.0.1:%d", port),
		BatchHandler: func(_ context.Context, batch []replication.ReplicateEntry) (int, error) {
			counted += len(batch)
			return len(batch), nil
		},
	})
	if err != nil {
		return 0, err
	}
	defer receiver.Close()
	if err := receiver.Start(ctx); err != nil {
		return 0, err
	}
	payload := make([]byte, size)
	sequence, err := sender.Append(0, payload) // connected before the clock runs
	if err == nil {
		err = receiver.WaitSequence(ctx, sequence)
	}
	if err != nil {
		return 0, err
	}

	begin := time.Now()
	if mode == "batch" {
		sequence, err = appendBatches(sender, entries, payload)
	} else {
		sequence, err = appendEach(sender, entries, payload)
	}
	if err == nil {
		err = receiver.WaitSequence(ctx, sequence)
	}
	took := time.Since(begin)
	if err == nil && counted != entries+1 {
		err = fmt.Errorf("%d entries were counted instead of %d", counted, entries+1)
	}
	return took, err
}

// A counted is how many allocations a call makes.
type counted struct {
	name    string
	perCall float64
}

// allocations counts, by a sender without readers, whose handlers would allocate as well.
func allocations(size int) ([]counted, error) {
	sender, err := replication.OpenSender(nil)
	if err != nil {
		return nil, err
	}
	defer sender.Close()
	if err := sender.Start(context.Background()); err != nil {
		return nil, err
	}
	payload := make([]byte, size)
	batch := make([][]byte, 64)
	for i := range batch {
		batch[i] = payload
	}
	entry := &replication.ReplicateEntry{Payload: payload}
	var failed error
	keep := func(err error) {
		if err != nil {
			failed = err
		}
	}
	const runs = 10000
	ways := []counted{
		{"Append", testing.AllocsPerRun(runs, func() { _, err := sender.Append(0, payload); keep(err) })},
		{"Replicate", testing.AllocsPerRun(runs, func() { sender.Replicate(entry) })},
		{"AppendBatch of 64", testing.AllocsPerRun(runs, func() { _, err := sender.AppendBatch(0, batch); keep(err) })},
	}
	if entry.Sequence == 0 {
		keep(fmt.Errorf("Replicate was refused"))
	}
	return ways, failed
}

func appendEach(sender *replication.Sender, entries int, payload []byte) (sequence uint64, err error) {
	for i := 0; i < entries && err == nil; i++ {
		sequence, err = sender.Append(uint64(i), payload)
	}
	return sequence, err
}

func appendBatches(sender *replication.Sender, entries int, payload []byte) (uint64, error) {
	batch := make([][]byte, 64)
	for i := range batch {
		batch[i] = payload
	}
	last := sender.CurrentSequence()
	for entries > 0 {
		if len(batch) > entries {
			batch = batch[:entries]
		}
		first, err := sender.AppendBatch(0, batch)
		if err != nil {
			return 0, err
		}
		entries -= len(batch)
		last = first + uint64(len(batch)) - 1
	}
	return last, nil
}
