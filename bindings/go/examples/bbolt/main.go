// Bbolt replicates a bbolt database: every transaction of the writer, to any number of readers. README.md tells how.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/libreplication/libreplication/bindings/go"
	"github.com/rs/zerolog"
)

const usage = `usage:
  bbolt writer -database FILE -log DIR [-listen ADDRESS] [-transfers N] [-readers N]
  bbolt reader -database FILE -writer ADDRESS [-id NAME]
  bbolt show -database FILE
`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	commands := map[string]func(context.Context, []string) error{"writer": runWriter, "reader": runReader, "show": runShow}
	command, known := commands[os.Args[1]]
	if !known {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "bbolt:", err)
		os.Exit(1)
	}
}

// runWriter transfers money between accounts, one transaction each, until so many were made or it is stopped.
func runWriter(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("writer", flag.ExitOnError)
	database := flags.String("database", "writer.db", "the database's `file`")
	logDir := flags.String("log", "writer.log-dir", "the `directory` of the log on disk")
	listen := flags.String("listen", "127.0.0.1:9481", "the `address` for readers")
	transfers := flags.Int("transfers", 0, "how many transfers the database has at the end; 0: go on")
	readers := flags.Int("readers", 0, "then wait until so many readers have all of them on disk")
	pause := flags.Duration("pause", 0, "between two transfers")
	_ = flags.Parse(arguments)

	w, err := openWriter(*database, *logDir)
	if err != nil {
		return err
	}
	defer w.close()
	// Not with ctx: an interrupt lets the readers catch up first, as Close does.
	if err := w.sender.Start(context.Background()); err != nil {
		return err
	}
	if err := w.catchUp(); err != nil {
		return err
	}
	port, err := w.sender.Listen(*listen)
	if err != nil {
		return err
	}
	fmt.Printf("listening on port %d\n", port)
	if err := w.update(openAccounts); err != nil {
		return err
	}
	for made := 0; (*transfers == 0 || made < *transfers) && ctx.Err() == nil; {
		if err := w.update(func(r *recorder) (err error) { made, err = transfer(r); return err }); err != nil {
			return err
		}
		if made%100 == 0 {
			fmt.Printf("%d transfers\n", made)
		}
		if *pause > 0 {
			time.Sleep(*pause)
		}
	}
	if *readers > 0 {
		if _, err := w.sender.WaitAcked(ctx, w.sender.CurrentSequence(), replication.AckDurable, *readers); err != nil {
			return err
		}
		fmt.Printf("%d readers have everything\n", *readers)
	}
	return nil
}

func runReader(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("reader", flag.ExitOnError)
	database := flags.String("database", "reader.db", "the database's `file`")
	writerAddr := flags.String("writer", "127.0.0.1:9481", "the writer's `address`")
	id := flags.String("id", "reader-1", "the `name` under which the writer knows this reader")
	_ = flags.Parse(arguments)

	logger := zerolog.New(os.Stderr).Level(zerolog.WarnLevel).With().Timestamp().Str("reader", *id).Logger()
	r, err := openReader(*database, *id, *writerAddr, logger)
	if err != nil {
		return err
	}
	defer r.close()
	if err := r.receiver.Start(context.Background()); err != nil {
		return err
	}
	fmt.Println("following", *writerAddr)
	<-ctx.Done()
	return nil
}

// runShow prints what a database has that no process uses.
func runShow(_ context.Context, arguments []string) error {
	flags := flag.NewFlagSet("show", flag.ExitOnError)
	database := flags.String("database", "reader.db", "the database's `file`")
	_ = flags.Parse(arguments)
	s, err := scan(*database)
	if err != nil {
		return err
	}
	fmt.Printf("%d transfers, %d accounts with %d in all, sha256 of the data %x\n", s.transfers, s.accounts, s.total, s.hash)
	return nil
}
