package main

import (
	"context"
	"errors"
	"time"

	"github.com/libreplication/libreplication/bindings/go"
	"github.com/rs/zerolog"
	"go.etcd.io/bbolt"
)

// A reader is a bbolt database that follows a writer's.
type reader struct {
	db       *bbolt.DB
	receiver *replication.Receiver
}

// tokenKey is where the place after the last applied transaction lies, in the replication's own bucket.
var tokenKey = []byte("token")

func openReader(database, id, writerAddr string, logger zerolog.Logger) (*reader, error) {
	db, err := bbolt.Open(database, 0o600, &bbolt.Options{Timeout: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	r := &reader{db: db}
	token, err := r.storedToken()
	if err != nil {
		db.Close()
		return nil, err
	}
	r.receiver, err = replication.OpenReceiver(&replication.ReceiverConfig{
		ReaderID:          id,
		WriterAddr:        writerAddr,
		BatchHandler:      r.apply,
		Token:             token,                  // nil: from the first transaction
		HandlerDurable:    true,                   // a commit of bbolt is on disk
		Protocol:          replication.ProtocolV2, // v1 has no token
		ReconnectInterval: time.Second,
		Logger:            logger,
	})
	if err != nil {
		db.Close()
		return nil, err
	}
	return r, nil
}

func (r *reader) close() error {
	err := r.receiver.Close()
	if closed := r.db.Close(); err == nil {
		err = closed
	}
	return err
}

// apply makes the changes of all transactions that are there, and stores the place after them, in one transaction: after
// a crash all of it is there, or none.
func (r *reader) apply(_ context.Context, entries []replication.ReplicateEntry) (applied int, err error) {
	token, err := r.receiver.Token()
	if err != nil {
		return 0, err
	}
	return 0, r.db.Update(func(tx *bbolt.Tx) error {
		for i := range entries {
			if err := applyPayload(tx, entries[i].Payload); err != nil {
				return err
			}
		}
		own, err := tx.CreateBucketIfNotExists(ownBucket)
		if err != nil {
			return err
		}
		return own.Put(tokenKey, token.Bytes())
	})
}

func (r *reader) storedToken() (*replication.Token, error) {
	var token *replication.Token
	err := r.db.View(func(tx *bbolt.Tx) error {
		own := tx.Bucket(ownBucket)
		if own == nil {
			return nil
		}
		if own.Bucket(outboxBucket) != nil {
			return errors.New("this is a writer's database")
		}
		stored := own.Get(tokenKey)
		if stored == nil {
			return nil
		}
		parsed, err := replication.ParseToken(stored)
		token = &parsed
		return err
	})
	return token, err
}
