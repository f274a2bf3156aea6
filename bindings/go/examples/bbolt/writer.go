package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/libreplication/libreplication/bindings/go"
	"go.etcd.io/bbolt"
)

// A writer is a bbolt database whose transactions are replicated.
//
// Database and log are two files, and a crash may come between the two. So each transaction stores its own payload, in an
// outbox: what the log lacks after a crash is there. The log never has what the database lacks.
type writer struct {
	db     *bbolt.DB
	sender *replication.Sender
	lock   sync.Mutex // held from a transaction to its entry: their order is the same
}

// The outbox is a bucket in the replication's own one: sequence to payload.
var outboxBucket = []byte("outbox")

func openWriter(database, logDir string) (*writer, error) {
	db, err := bbolt.Open(database, 0o600, &bbolt.Options{Timeout: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	sender, err := replication.OpenSender(&replication.SenderConfig{
		// An entry is on disk when Append returns, so that the outbox can forget it.
		WAL: &replication.SenderWAL{Dir: logDir, Sync: replication.SyncAlways},
	})
	if err != nil {
		db.Close()
		return nil, err
	}
	return &writer{db: db, sender: sender}, nil
}

func (w *writer) close() error {
	err := w.sender.Close()
	if closed := w.db.Close(); err == nil {
		err = closed
	}
	return err
}

// catchUp hands over what was committed before a crash and did not reach the log. The sender runs.
func (w *writer) catchUp() error {
	return w.db.View(func(tx *bbolt.Tx) error {
		outbox := outboxOf(tx)
		if outbox == nil {
			return nil
		}
		return outbox.ForEach(func(key, payload []byte) error {
			sequence := binary.BigEndian.Uint64(key)
			if sequence <= w.sender.CurrentSequence() {
				return nil
			}
			return w.append(sequence, payload)
		})
	})
}

func (w *writer) append(want uint64, payload []byte) error {
	sequence, err := w.sender.Append(uint64(time.Now().UnixMicro()), payload)
	if err == nil && sequence != want {
		err = fmt.Errorf("the transaction %d is the entry %d: log and database do not belong together", want, sequence)
	}
	return err
}

// update runs a transaction and replicates it, unless it changes nothing. With an error of the transaction nothing
// happened; otherwise it is committed, and its entry goes out now, before the next one, or after a restart.
func (w *writer) update(f func(*recorder) error) error {
	w.lock.Lock()
	defer w.lock.Unlock()
	// An entry that was not taken, because the log's disk was full for example, comes before the next one.
	if err := w.catchUp(); err != nil {
		return err
	}
	sequence := w.sender.CurrentSequence() + 1
	var payload []byte
	err := w.db.Update(func(tx *bbolt.Tx) error {
		r := &recorder{tx: tx}
		if err := f(r); err != nil {
			return err
		}
		if len(r.changes) == 0 {
			return nil
		}
		var err error
		if payload, err = encode(r.changes); err != nil {
			return err
		}
		return store(tx, sequence, payload)
	})
	if err != nil || payload == nil {
		return err
	}
	return w.append(sequence, payload)
}

// store puts a payload into the outbox, in which it takes the place of those that are in the log.
func store(tx *bbolt.Tx, sequence uint64, payload []byte) error {
	own, err := tx.CreateBucketIfNotExists(ownBucket)
	if err != nil {
		return err
	}
	outbox, err := own.CreateBucketIfNotExists(outboxBucket)
	if err != nil {
		return err
	}
	key := sequenceKey(sequence)
	cursor := outbox.Cursor()
	for old, _ := cursor.First(); old != nil && bytes.Compare(old, key) < 0; old, _ = cursor.Next() {
		if err := cursor.Delete(); err != nil {
			return err
		}
	}
	return outbox.Put(key, payload)
}

func outboxOf(tx *bbolt.Tx) *bbolt.Bucket {
	if own := tx.Bucket(ownBucket); own != nil {
		return own.Bucket(outboxBucket)
	}
	return nil
}

// sequenceKey is a number in the order of keys.
func sequenceKey(sequence uint64) []byte {
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], sequence)
	return key[:]
}
