// Package replication replicates a database's write-ahead log from one writer to many readers, with libreplication.
//
// The writer's process makes a Sender and gives it every entry; every reader's process makes a Receiver, which connects,
// stays connected and hands each entry, in order, to a handler:
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
// Building needs cgo and a C compiler, and nothing of the library. A program that runs loads libreplication.so.0.1 when
// it first needs it; Load tells where it is looked for. Without it, or with one that does not fit, every call that can
// fail returns an error that matches ErrLibrary.
//
// # Handlers
//
// Each sender and each receiver has one thread of the library that calls the host: handlers, events and log records of
// one of them never run at once. A handler may call any method, but of its own sender or receiver none that waits: Stop
// and the Wait methods return ErrWrongThread there. Close is allowed. A handler must not wait for another goroutine that
// stops, closes or waits for the same sender or receiver, and must not end its goroutine (runtime.Goexit, and so
// testing's FailNow). A panic in a handler is an error of it: the entry was not applied.
//
// # Errors
//
// Failures of the library are an *Error, which matches its Status: errors.Is(err, replication.ErrBufferFull).
package replication
