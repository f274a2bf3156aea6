// Package replication replicates a database's write-ahead log from one writer to many readers, with libreplication.
//
// The writer's process creates a Sender and hands it every log entry. Each reader's process creates a Receiver, which
// connects, stays connected and passes every entry, in order, to a handler:
//
//	sender := replication.NewSender(nil)
//	defer sender.Close()
//	if err := sender.Start(ctx); err != nil { ... }
//	port, err := sender.Listen("127.0.0.1:0")
//	sequence, err := sender.Append(timestampUS, payload)
//
//	receiver := replication.NewReceiver(&replication.ReceiverConfig{
//		ReaderID:      "reader-1",
//		WriterAddr:    "127.0.0.1:9000",
//		IngestHandler: replication.IngestHandlerFunc(apply),
//	})
//	defer receiver.Close()
//	if err := receiver.Start(ctx); err != nil { ... }
//
// # The library
//
// Building needs cgo and a C compiler, but not the library. At run time, the first use of this package loads
// libreplication.so.0.1; Load documents where it is searched for. If the library is missing or incompatible, every call
// that can fail returns an error that matches ErrLibrary.
//
// # Handlers
//
// Each sender and each receiver has one library thread that calls the host, so its handlers, events and log records
// never run at once. A handler may call any method except, on its own sender or receiver, one that waits: Stop and the
// Wait methods return ErrWrongThread there. Close is allowed. A handler must not wait for another goroutine that stops,
// closes or waits for the same sender or receiver, and must not end its goroutine (with runtime.Goexit, and so
// testing's FailNow). A panic in a handler counts as an error: the entry was not applied.
//
// # Errors
//
// A failure of the library is an *Error, which matches its Status: errors.Is(err, replication.ErrBufferFull).
package replication
