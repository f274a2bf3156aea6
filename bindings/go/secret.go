package replication

/*
#include "library.h"
*/
import "C"

import "fmt"

// A Secret is what a writer and its readers share under a name, and by which each proves to the other who it is. Exactly one
// of Bytes, Passphrase, File and PassphraseFile is set. Printing it does not show the secret.
type Secret struct {
	// Cluster tells the secrets of one cluster from those of another; it may be "". Both ends have the same.
	Cluster string
	// Name has 1 to 64 bytes without control characters. Both ends have the same; access rules know it as secret:NAME.
	Name string
	// Bytes are 32 to 4096 bytes that nobody can guess.
	Bytes []byte
	// Passphrase is 12 to 4096 bytes that people can remember. Each use derives its key, which takes 64 MiB of memory and some
	// tenths of a second.
	Passphrase string
	// File holds the Bytes. Other users can neither read nor change it. A line end at its end is not part of the secret.
	File string
	// PassphraseFile holds the Passphrase, in the same way.
	PassphraseFile string
	// InsecurePermissionsAllowed allows a file that other users can read or change.
	InsecurePermissionsAllowed bool
}

// String names the secret and does not show it.
func (s Secret) String() string { return fmt.Sprintf("secret %q of cluster %q", s.Name, s.Cluster) }

// GoString is as String.
func (s Secret) GoString() string { return s.String() }

// made makes the library's secret, to be freed by freeSecret.
func (s *Secret) made(op string) (*C.replication_secret, error) {
	set := 0
	for _, is := range []bool{s.Bytes != nil, s.Passphrase != "", s.File != "", s.PassphraseFile != ""} {
		if is {
			set++
		}
	}
	if set != 1 {
		return nil, invalid(op, fmt.Sprintf("secret %q needs one of Bytes, Passphrase, File and PassphraseFile", s.Name))
	}
	var texts [3]cString
	for i, text := range []string{s.Cluster, s.Name, s.File + s.PassphraseFile} {
		made, err := newCString(text)
		if err != nil {
			err.(*Error).Op = op
			return nil, err
		}
		defer made.free()
		texts[i] = made
	}
	cluster, name, file := texts[0].pointer, texts[1].pointer, texts[2].pointer
	var secret *C.replication_secret
	err := call(op, func() C.int32_t {
		switch {
		case s.Bytes != nil:
			return C.lr_replication_secret_from_bytes(cluster, name, bytesPointer(s.Bytes), C.size_t(len(s.Bytes)), &secret)
		case s.Passphrase != "":
			phrase := []byte(s.Passphrase)
			return C.lr_replication_secret_from_passphrase(cluster, name, bytesPointer(phrase), C.size_t(len(phrase)), &secret)
		default:
			isPassphrase, insecure := C._Bool(s.PassphraseFile != ""), C._Bool(s.InsecurePermissionsAllowed)
			return C.lr_replication_secret_from_file(cluster, name, file, isPassphrase, insecure, &secret)
		}
	})
	return secret, err
}

func freeSecret(secret *C.replication_secret) { C.lr_replication_secret_free(secret) }

// secret makes a secret for the time of the call.
func (b *builder) secret(option string, given *Secret, f func(*C.replication_secret) C.int32_t) {
	if b.err != nil {
		return
	}
	secret, err := given.made(b.op + ": " + option)
	if err != nil {
		b.err = err
		return
	}
	defer freeSecret(secret)
	b.set(option, func() C.int32_t { return f(secret) })
}
