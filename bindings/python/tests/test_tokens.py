"""Tokens by themselves."""

from __future__ import annotations

import pytest

import libreplication as r
from libreplication import errors

FIFTH = "30313233343536373839616263646566:1:5:00000000000000ab"


@pytest.mark.parametrize(
    "other, order",
    [
        (FIFTH, r.TokenOrder.EQUAL),
        (FIFTH.replace(":5:", ":6:"), r.TokenOrder.BEFORE),
        (FIFTH.replace(":5:", ":4:"), r.TokenOrder.AFTER),
        (FIFTH.replace(":1:5:", ":2:6:"), r.TokenOrder.UNKNOWN),
        (FIFTH.replace("ab", "cd"), r.TokenOrder.DIVERGED),
    ],
)
def test_tokens_are_ordered_as_far_as_they_tell(other, order):
    assert r.compare_tokens(r.parse_token(FIFTH), r.parse_token(other)) is order


def test_a_token_has_a_text_form():
    token = r.parse_token(FIFTH)
    assert len(token) == 48 and r.token_text(token) == FIFTH


@pytest.mark.parametrize(
    "call", [lambda: r.parse_token("a\nb"), lambda: r.token_text(bytes(48)), lambda: r.compare_tokens(b"", b"")]
)
def test_what_is_no_token_is_refused(call):
    with pytest.raises(errors.InvalidArgumentError):
        call()
