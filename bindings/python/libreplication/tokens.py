"""Tokens without a sender or receiver: their order, and a text form for logs and SQL."""

from __future__ import annotations

import ctypes

from . import _arguments
from ._handle import check
from ._native import library
from ._raw import TOKEN_MAX_BYTES
from .constants import TokenOrder


def compare_tokens(first: bytes, second: bytes) -> TokenOrder:
    """Compares the position of the first token with that of the second, as far as the tokens allow."""
    order = ctypes.c_int32()
    one, other = _arguments.octets("first", first), _arguments.octets("second", second)
    check(library().replication_token_compare(one, len(one), other, len(other), ctypes.byref(order)))
    return TokenOrder(order.value)


def token_text(token: bytes) -> str:
    """Returns a token as text. Raises `InvalidArgumentError` for bytes that are not a token."""
    native = library()
    text = ctypes.c_void_p()
    octets = _arguments.octets("token", token)
    check(native.replication_token_print(octets, len(octets), ctypes.byref(text)))
    try:
        return ctypes.string_at(text.value or 0).decode()
    finally:
        native.replication_string_free(text)


def parse_token(text: str) -> bytes:
    """Returns the token for a text from `token_text`. Raises `InvalidArgumentError` for any other text."""
    token = ctypes.create_string_buffer(TOKEN_MAX_BYTES)
    length = ctypes.c_size_t()
    form = _arguments.text("text", text)
    check(library().replication_token_parse(form, token, TOKEN_MAX_BYTES, ctypes.byref(length)))
    return token.raw[: length.value]
