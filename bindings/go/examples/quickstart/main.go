// Quickstart is a sender and a receiver in one program; between two machines only the address differs.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/libreplication/libreplication/bindings/go"
)

func apply(_ context.Context, entry *replication.ReplicateEntry) error {
	fmt.Printf("%d: %s\n", entry.Sequence, entry.Payload)
	return nil // applied; with an error the entry comes again
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	sender := replication.NewSender(nil) // nil: every option at its default
	defer sender.Close()
	check(sender.Start(ctx))
	port, err := sender.Listen("127.0.0.1:0")
	check(err)

	receiver := replication.NewReceiver(&replication.ReceiverConfig{
		ReaderID:     "reader-1",
		WriterAddr:   fmt.Sprintf("127.0.0.1:%d", port),
		EntryHandler: apply,
	})
	defer receiver.Close()
	check(receiver.Start(ctx))

	_, err = sender.Append(0, []byte("insert"))
	check(err)
	sequence, err := sender.Append(0, []byte("commit"))
	check(err)
	check(receiver.WaitSequence(ctx, sequence)) // read your writes, within 5 s
}
