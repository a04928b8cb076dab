from __future__ import annotations

import pytest

from polar_sync.client import PortalClient, RequestBudget
from polar_sync.exceptions import AuthenticationError, UnreadableAnswerError
from tests.client.scripted import Reply, ScriptedServer

CUSTOMER = {"id": "1", "oauth_accounts": {"github": {"account_id": "7", "account_username": None}}}


def test_portal_customer_is_asked_with_the_session_token(polar: ScriptedServer) -> None:
    polar.answer(Reply(body=CUSTOMER))
    with PortalClient(session_token="polar_cst_x", server=polar.url) as client:
        customer = client.customers.get()
        assert client.usage.requests == 1
    assert customer == CUSTOMER
    assert customer.as_of.tzinfo is not None
    assert polar.targets == ["/v1/customer-portal/customers/me"]
    assert polar.received[0].headers["Authorization"] == "Bearer polar_cst_x"


def test_portal_error_names_the_session_token(polar: ScriptedServer) -> None:
    polar.answer(Reply(status=401, body={"error": "Unauthorized", "detail": "Unauthorized"}))
    with (
        PortalClient("polar_cst_x", server=polar.url) as client,
        pytest.raises(AuthenticationError, match="customer session token") as caught,
    ):
        client.customers.get()
    assert caught.value.error == "Unauthorized"


def test_portal_answer_of_another_shape_is_unreadable(polar: ScriptedServer, organization: str) -> None:
    polar.answer(Reply(body=[CUSTOMER]))
    budget = RequestBudget(organization=organization, requests_per_minute=5)
    with (
        PortalClient("polar_cst_x", server=polar.url, budget=budget) as client,
        pytest.raises(UnreadableAnswerError, match="a list"),
    ):
        client.customers.get()
    assert budget.get_wait() == 0
