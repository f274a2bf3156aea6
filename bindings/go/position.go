package replication

/*
#include "library.h"
*/
import "C"

import (
	"encoding/hex"
	"strconv"
)

// A Token is a position in a history, to be stored with the data: opaque bytes that Bytes returns. Tokens may be compared
// with ==.
type Token struct {
	bytes  [C.REPLICATION_TOKEN_MAX_BYTES]byte
	length C.size_t
}

// Bytes returns the token's bytes, to be stored.
func (t Token) Bytes() []byte { return append([]byte(nil), t.bytes[:t.length]...) }

// String returns the token in hexadecimal digits.
func (t Token) String() string { return hex.EncodeToString(t.bytes[:t.length]) }

func (t *Token) pointer() *C.uint8_t { return (*C.uint8_t)(&t.bytes[0]) }

// room is how many bytes the library may write at pointer.
func (t *Token) room() C.size_t { return C.size_t(len(t.bytes)) }

// Text returns the token as text for logs and SQL, with its sequence and epoch in readable form.
func (t Token) Text() (string, error) {
	if err := Load(); err != nil {
		return "", err
	}
	var text *C.char
	err := call("print token", func() C.int32_t {
		return C.lr_replication_token_print(t.pointer(), t.length, &text)
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
		return C.lr_replication_token_compare(t.pointer(), t.length, other.pointer(), other.length, &order)
	})
	return TokenOrder(order), err
}

// ParseTokenText creates a token from the text that Text returns.
func ParseTokenText(text string) (Token, error) {
	var token Token
	if err := Load(); err != nil {
		return token, err
	}
	err := callText("parse token", text, func(text *C.char) C.int32_t {
		return C.lr_replication_token_parse(text, token.pointer(), token.room(), &token.length)
	})
	return token, err
}

// ParseToken creates a token from its stored bytes. The function that uses the token checks its contents.
func ParseToken(stored []byte) (Token, error) {
	var token Token
	if len(stored) == 0 || len(stored) > len(token.bytes) {
		return Token{}, invalid("parse token", strconv.Itoa(len(stored))+" bytes are not a token")
	}
	token.length = C.size_t(copy(token.bytes[:], stored))
	return token, nil
}
