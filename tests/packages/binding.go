// The same as program.go, with the Go binding, which loads the installed library when it runs.
package main

import (
	"context"
	"fmt"
	"os"

	replication "github.com/libreplication/libreplication/bindings/go"
)

func main() {
	version, err := replication.Version()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("libreplication", version)
	sender := replication.NewSender(&replication.SenderConfig{BufferSize: 16})
	if err := sender.Start(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	entry := &replication.ReplicateEntry{Payload: []byte("insert")}
	sender.Replicate(entry)
	fmt.Printf("%d: %s\n", entry.Sequence, entry.Payload)
	if err := sender.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
