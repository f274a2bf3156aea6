package main

import (
	"errors"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"
	"go.etcd.io/bbolt"
)

// ownBucket is what the replication itself keeps in a database, beside the data.
var ownBucket = []byte("_replication")

// A change is one step of a transaction. A payload is a list of them in msgpack, an array of maps.
type change struct {
	Bucket []byte `msgpack:"bucket"`
	Key    []byte `msgpack:"key"`
	Value  []byte `msgpack:"value,omitempty"`
	Delete bool   `msgpack:"delete,omitempty"`
}

// A recorder is a transaction that notes what it changes.
type recorder struct {
	tx      *bbolt.Tx
	changes []change
}

func (r *recorder) get(bucket, key string) []byte {
	if b := r.tx.Bucket([]byte(bucket)); b != nil {
		return b.Get([]byte(key))
	}
	return nil
}

func (r *recorder) put(bucket, key string, value []byte) error {
	return r.do(change{Bucket: []byte(bucket), Key: []byte(key), Value: value})
}

func (r *recorder) delete(bucket, key string) error {
	return r.do(change{Bucket: []byte(bucket), Key: []byte(key), Delete: true})
}

func (r *recorder) do(c change) error {
	if err := c.apply(r.tx); err != nil {
		return err
	}
	r.changes = append(r.changes, c)
	return nil
}

// apply makes the change in a database, the writer's or a reader's.
func (c *change) apply(tx *bbolt.Tx) error {
	if string(c.Bucket) == string(ownBucket) {
		return errors.New("a change of the replication's own bucket")
	}
	bucket, err := tx.CreateBucketIfNotExists(c.Bucket)
	if err != nil {
		return err
	}
	if c.Delete {
		return bucket.Delete(c.Key)
	}
	return bucket.Put(c.Key, c.Value)
}

func encode(changes []change) ([]byte, error) { return msgpack.Marshal(changes) }

// applyPayload makes the changes of one transaction of the writer.
func applyPayload(tx *bbolt.Tx, payload []byte) error {
	var changes []change
	if err := msgpack.Unmarshal(payload, &changes); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	for i := range changes {
		if err := changes[i].apply(tx); err != nil {
			return err
		}
	}
	return nil
}
