from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime

import pytest

from polar_sync.client import PolarClient, PolarObject, bodies
from polar_sync.exceptions import UnreadableAnswerError
from polar_sync.payloads import Interval
from tests.client.scripted import Reply, ScriptedServer

ID = "8abeac83-20be-4e0d-8758-326691a2e9a6"
MOMENT = Interval.at(datetime(2026, 11, 20, tzinfo=UTC))


def test_object_is_a_dict_that_knows_its_time() -> None:
    found = PolarObject({"id": ID}, interval=MOMENT)
    assert found == {"id": ID}
    assert json.loads(json.dumps(found)) == {"id": ID}
    for again in (copy.copy(found), copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert (again, again.interval) == ({"id": ID}, MOMENT)


@pytest.mark.parametrize("is_chunked", [True, False])
def test_body_that_never_ends_is_not_kept(
    polar: ScriptedServer, client: PolarClient, monkeypatch: pytest.MonkeyPatch, is_chunked: bool
) -> None:
    monkeypatch.setattr(bodies, "LARGEST_BODY", 100_000)
    polar.answer(Reply(pieces=[b" " * 50_000] * 4, is_chunked=is_chunked), Reply(body={}))
    with pytest.raises(UnreadableAnswerError, match="more than 100000 bytes"):
        client.customers.get(ID)
    assert client.customers.get(ID) == {}


def test_answer_keeps_what_json_can_say(polar: ScriptedServer, client: PolarClient) -> None:
    polar.answer(Reply(body=rb'{"a": "\ud800\u0000", "b": 1e308, "c": -0.0, "d": 12345678901234567890123}'))
    found = client.customers.get(ID)
    assert (found["a"], found["b"], str(found["c"]), found["d"]) == (
        "\ud800\x00",
        1e308,
        "-0.0",
        12345678901234567890123,
    )
