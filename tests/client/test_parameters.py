"""What is asked of Polar: servers, paths, query parameters and bodies."""

from __future__ import annotations

import contextlib
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polar_sync.client import PolarClient
from polar_sync.client.parameters import encode_query, format_metadata_value
from polar_sync.exceptions import ConfigurationError
from tests.client.conftest import MakeClient
from tests.client.scripted import ScriptedServer

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(pairs=st.lists(st.tuples(TEXT.filter(bool), TEXT)))
def test_any_query_is_read_back(pairs: list[tuple[str, str]]) -> None:
    assert parse_qsl(encode_query(pairs), keep_blank_values=True, strict_parsing=bool(pairs)) == pairs


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_any_float_is_written_without_an_exponent_and_without_loss(value: float) -> None:
    text = format_metadata_value(value)
    assert "e" not in text.lower()
    assert Decimal(text) == Decimal(repr(value))
    assert float(text) == value


@given(value=st.integers() | st.booleans() | st.text())
def test_other_values_are_their_json_text_without_quotes(value: int | bool | str) -> None:
    assert format_metadata_value(value) == (str(value).lower() if isinstance(value, bool) else str(value))


ID = "8abeac83-20be-4e0d-8758-326691a2e9a6"


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("production", "https://api.polar.sh"),
        ("sandbox", "https://sandbox-api.polar.sh"),
        ("https://polar.example", "https://polar.example"),
        ("https://polar.example:8443/", "https://polar.example:8443"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://proxy.example/polar/", "http://proxy.example/polar"),
    ],
)
def test_server_is_a_name_or_an_address(server: str, url: str) -> None:
    with PolarClient("polar_oat_x", server=server) as client:
        assert client.server == url


@pytest.mark.parametrize(
    "server",
    [
        "",
        "Production",
        "api.polar.sh",
        "ftp://polar.example",
        "https://",
        "https://polar.example:port",
        "https://polar.example:99999",
        "https://[::1",
        "https://polar.example?x=1",
        "https://polar.example#x",
        "https://polar.example/\n",
        " https://polar.example",
        None,
        5,
    ],
)
def test_server_that_is_neither_is_refused(server: Any) -> None:
    with pytest.raises(ConfigurationError, match="production"):
        PolarClient("polar_oat_x", server=server)


def test_server_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError) as caught:
        PolarClient("polar_oat_x", server="https://user:secretpassword@polar.example")
    assert "secretpassword" not in str(caught.value)


@given(server=st.text())
def test_any_text_is_a_server_or_a_clear_error(server: str) -> None:
    with contextlib.suppress(ConfigurationError), PolarClient("polar_oat_x", server=server) as client:
        assert client.server.startswith(("http://", "https://"))


def test_server_that_no_library_can_ask_is_a_mistake_in_its_address(make_client: MakeClient) -> None:
    client = make_client(server="http://a..b")
    with pytest.raises(ConfigurationError, match=r"http://a\.\.b"):
        client.customers.list()
    assert client.usage.requests == 1


def test_path_of_the_server_is_kept(polar: ScriptedServer, make_client: MakeClient) -> None:
    make_client(server=f"{polar.url}/polar/").customers.get(ID)
    assert polar.targets == [f"/polar/v1/customers/{ID}"]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"read_timeout": -1}, "read_timeout"),
        ({"read_timeout": float("inf")}, "read_timeout"),
        ({"read_timeout": True}, "read_timeout"),
        ({"connect_timeout": None}, "connect_timeout"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": 1.5}, "max_attempts"),
        ({"version": ""}, "version"),
        ({"version": "2026\r\nX: y"}, "version"),
        ({"version": None}, "version"),
    ],
)
def test_option_that_cannot_work_is_refused_by_name(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        PolarClient("polar_oat_x", **options)
