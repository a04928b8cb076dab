"""A token says nothing of itself to anybody but the transport."""

import copy
import json
import pickle
from dataclasses import asdict

import pytest

from polar_sync.conf import OrganizationSettings
from polar_sync.tokens import Token

TEXT = "polar_oat_for_tests_only_0123456789"


@pytest.mark.parametrize("show", [str, repr, "{}".format, "{:>40}".format, "%s".__mod__, ascii])
def test_token_says_nothing_as_text(show: object) -> None:
    assert callable(show)
    assert show(Token(TEXT)).strip() == "<Token>"


def test_token_is_no_text_and_has_no_attributes() -> None:
    token: object = Token(TEXT)
    assert not isinstance(token, str)
    assert not hasattr(token, "__dict__")
    with pytest.raises(TypeError):
        json.dumps(token)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_token_cannot_be_pickled(protocol: int) -> None:
    for holder in (Token(TEXT), [Token(TEXT)], OrganizationSettings(name="shop", access_token=Token(TEXT))):
        with pytest.raises(TypeError, match="cannot be pickled") as caught:
            pickle.dumps(holder, protocol)
        assert TEXT not in str(caught.value)


def test_copy_is_the_token_itself() -> None:
    token = Token(TEXT)
    assert copy.copy(token) is token
    assert copy.deepcopy({"shop": [token]})["shop"][0] is token
    assert asdict(OrganizationSettings(name="shop", access_token=token))["access_token"] is token


def test_tokens_with_the_same_text_are_equal_and_no_text_equals_one() -> None:
    assert Token(TEXT) == Token(TEXT) == Token(Token(TEXT))
    assert len({Token(TEXT), Token(TEXT), Token(TEXT + "x")}) == 2
    assert Token(TEXT) != Token(TEXT + "x")
    assert Token(TEXT) != TEXT
    assert Token(Token(TEXT)).reveal() == TEXT


@pytest.mark.parametrize(
    ("text", "is_empty", "is_sendable"),
    [(TEXT, False, True), ("", True, False), ("a b", False, False), ("a\n", False, False), ("é", False, False)],
)
def test_token_tells_whether_a_header_can_carry_it(text: str, is_empty: bool, is_sendable: bool) -> None:
    assert (Token(text).is_empty, Token(text).is_sendable) == (is_empty, is_sendable)
