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

// String returns the id in hexadecimal digits, and the epoch.
func (s Stream) String() string {
	return hex.EncodeToString(s.ID[:]) + "/" + strconv.FormatUint(s.Epoch, 10)
}

// A Token is a position with its stream, its epoch and a hash of the history before it, to be stored with the data.
type Token [C.REPLICATION_TOKEN_BYTES]byte

// String returns the token in hexadecimal digits.
func (t Token) String() string { return hex.EncodeToString(t[:]) }

// Text returns the token as text for logs and SQL, with its sequence and epoch in readable form.
func (t Token) Text() (string, error) {
	if err := Load(); err != nil {
		return "", err
	}
	var text *C.char
	err := call("print token", func() C.int32_t {
		return C.lr_replication_token_print((*C.uint8_t)(&t[0]), C.size_t(len(t)), &text)
	})
	if err != nil {
		return "", err
	}
	return takeText(text), nil
}

// Compare compares this position with another one, as far as the tokens allow.
func (t Token) Compare(other Token) (TokenOrder, error) {
	if err := Load(); err != nil {
		return 0, err
	}
	var order C.int32_t
	err := call("compare tokens", func() C.int32_t {
		return C.lr_replication_token_compare((*C.uint8_t)(&t[0]), C.size_t(len(t)),
			(*C.uint8_t)(&other[0]), C.size_t(len(other)), &order)
	})
	return TokenOrder(order), err
}

// ParseTokenText creates a token from the text that Text returns.
func ParseTokenText(text string) (Token, error) {
	var token Token
	if err := Load(); err != nil {
		return token, err
	}
	var length C.size_t
	err := callText("parse token", text, func(text *C.char) C.int32_t {
		return C.lr_replication_token_parse(text, (*C.uint8_t)(&token[0]), C.size_t(len(token)), &length)
	})
	return token, err
}

// ParseToken creates a token from its stored bytes. The function that uses the token checks its contents.
func ParseToken(stored []byte) (Token, error) {
	var token Token
	if copy(token[:], stored) != len(token) || len(stored) != len(token) {
		return Token{}, invalid("parse token", strconv.Itoa(len(stored))+" bytes are not a token")
	}
	return token, nil
}
