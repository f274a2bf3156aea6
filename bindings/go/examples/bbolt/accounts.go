package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"time"

	"go.etcd.io/bbolt"
)

// The data: accounts whose sum never changes, how many transfers there were, and the last ones of them.
const (
	accounts     = 100
	startBalance = 1000
	kept         = 500 // transfers in the history
)

func accountName(n int) string { return fmt.Sprintf("account-%03d", n) }

func number(value []byte) int {
	n, _ := strconv.Atoi(string(value))
	return n
}

// openAccounts opens the accounts, unless they are there.
func openAccounts(r *recorder) error {
	if r.get("accounts", accountName(0)) != nil {
		return nil
	}
	for i := 0; i < accounts; i++ {
		if err := r.put("accounts", accountName(i), []byte(strconv.Itoa(startBalance))); err != nil {
			return err
		}
	}
	return nil
}

// transfer moves an amount from one account to another, and returns how many transfers there were.
func transfer(r *recorder) (made int, err error) {
	made = number(r.get("meta", "transfers")) + 1
	from := rand.Intn(accounts)
	to := (from + 1 + rand.Intn(accounts-1)) % accounts
	amount := rand.Intn(100)
	text := []byte(fmt.Sprintf("%d from %d to %d", amount, from, to))
	steps := []func() error{
		func() error { return r.put("meta", "transfers", []byte(strconv.Itoa(made))) },
		func() error { return r.add(from, -amount) },
		func() error { return r.add(to, amount) },
		func() error { return r.put("history", fmt.Sprintf("%012d", made), text) },
		func() error { return r.delete("history", fmt.Sprintf("%012d", made-kept)) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return 0, err
		}
	}
	return made, nil
}

func (r *recorder) add(account, amount int) error {
	balance := number(r.get("accounts", accountName(account)))
	return r.put("accounts", accountName(account), []byte(strconv.Itoa(balance+amount)))
}

// A summary is what a full scan of a database finds.
type summary struct {
	transfers, accounts, total, history int
	hash                                [sha256.Size]byte // of every bucket, key and value but the replication's own
}

func scan(database string) (summary, error) {
	var s summary
	if _, err := os.Stat(database); err != nil {
		return s, err
	}
	db, err := bbolt.Open(database, 0o600, &bbolt.Options{ReadOnly: true, Timeout: 5 * time.Second})
	if err != nil {
		return s, err
	}
	defer db.Close()
	hash := sha256.New()
	write := func(part []byte) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		hash.Write(length[:])
		hash.Write(part)
	}
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, bucket *bbolt.Bucket) error {
			if string(name) == string(ownBucket) {
				return nil
			}
			return bucket.ForEach(func(key, value []byte) error {
				write(name)
				write(key)
				write(value)
				switch string(name) {
				case "accounts":
					s.accounts++
					s.total += number(value)
				case "history":
					s.history++
				case "meta":
					s.transfers = number(value)
				}
				return nil
			})
		})
	})
	hash.Sum(s.hash[:0])
	return s, err
}
