package replication

/*
#include "library.h"
*/
import "C"

import (
	"encoding/hex"
	"strconv"
)

// A Stream is a lineage: the id of a log and its epoch, which rises with each promotion.
type Stream struct {
	ID    [C.REPLICATION_STREAM_ID_BYTES]byte
	Epoch uint64
}

// String gives the id in hexadecimal digits and the epoch.
func (s Stream) String() string {
	return hex.EncodeToString(s.ID[:]) + "/" + strconv.FormatUint(s.Epoch, 10)
}

// A Token is a position with its stream, its epoch and a hash of all that lies before it, to be stored with the data.
type Token [C.REPLICATION_TOKEN_BYTES]byte

// String gives the token in hexadecimal digits.
func (t Token) String() string { return hex.EncodeToString(t[:]) }

// ParseToken makes a token from its bytes, as they were stored. Whether they are one is checked where it is used.
func ParseToken(stored []byte) (Token, error) {
	var token Token
	if copy(token[:], stored) != len(token) || len(stored) != len(token) {
		return Token{}, invalid("parse token", strconv.Itoa(len(stored))+" bytes are not a token")
	}
	return token, nil
}
