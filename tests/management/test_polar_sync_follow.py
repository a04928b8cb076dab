"""`polar_sync_follow`: what it reads, prints and exits with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from polar_sync.models import Customer, SyncRun, WebhookFeed
from polar_sync.testing import Fault
from tests.sync.hearing import Hearing

pytestmark = pytest.mark.django_db

FOLLOW = "polar_sync.management.commands.polar_sync_follow"


@pytest.fixture
def hearing(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Hearing:
    hearing = Hearing(monkeypatch, settings, age=timedelta(seconds=90))
    hearing.add_endpoint()
    hearing.pass_time(30)
    hearing.run()
    hearing.pass_time(30)
    return hearing


@dataclass
class Ended:
    code: int
    output: str


def follow(*arguments: str) -> Ended:
    output, code = StringIO(), 0
    try:
        call_command("polar_sync_follow", "--once", *arguments, stdout=output, stderr=output)
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    except CommandError as error:
        code = error.returncode
        output.write(str(error))
    return Ended(code, output.getvalue())


def create(hearing: Hearing, *, is_lost: bool) -> None:
    hearing.answer = lambda: 503 if is_lost else 202
    hearing.polar.create_customer(name="Ada")
    hearing.polar.webhooks.flush()


def test_what_did_not_arrive_is_read_and_said(hearing: Hearing) -> None:
    follow()
    create(hearing, is_lost=True)
    ended = follow()
    made = len(hearing.polar.webhooks.events)
    assert ended.code == 0
    assert ended.output.startswith(f"default: {made} new events on 1 pages, told until ")
    assert Customer.objects.get().name == "Ada"


def test_everything_is_read_where_the_endpoint_is_somebody_elses(hearing: Hearing) -> None:
    follow()
    create(hearing, is_lost=False)
    assert "default: 0 new events" not in follow("--all").output
    assert Customer.objects.get().name == "Ada"


def test_error_of_one_organization_keeps_no_other_from_being_followed(hearing: Hearing, settings: Settings) -> None:
    entry = settings.POLAR_SYNC["ORGANIZATIONS"]["default"]
    other = {**entry, "ACCESS_TOKEN": "polar_oat_other", "WEBHOOK_SECRETS": "whsec_other"}
    entry = {**entry, "WEBHOOK_SECRETS": "whsec_one"}
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "ORGANIZATIONS": {"other": other, "default": entry}}
    ended = follow()
    assert ended.code == 1
    assert "other: AuthenticationError" in ended.output
    assert "default: 0 new events" in ended.output
    assert WebhookFeed.objects.get(organization__name="default").finished_at is not None
    assert follow("--organization", "default").code == 0


def test_error_of_polar_exits_with_1(hearing: Hearing) -> None:
    hearing.polar.faults.add(Fault(kind="server_error", operation="webhooks:list_webhook_deliveries", times=None))
    ended = follow()
    assert ended.code == 1
    assert "default: ServerError" in ended.output


def test_configuration_error_exits_with_2(hearing: Hearing) -> None:
    hearing.add_endpoint()
    ended = follow()
    assert ended.code == 2
    assert "WEBHOOK_ENDPOINT_ID" in ended.output
    assert follow("--organization", "nobody").code == 2


def test_gap_is_closed_by_a_run(hearing: Hearing, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "ENABLE_WEBHOOK_ENDPOINT": True}
    follow()
    SyncRun.objects.all().delete()
    [endpoint] = hearing.polar.webhooks.endpoints
    hearing.polar.webhooks.update_endpoint(endpoint, enabled=False)
    hearing.polar.create_customer(name="Untold")
    WebhookFeed.objects.update(checked_at=None)
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        WebhookFeed.objects.update(gap_until=hearing.now - timedelta(seconds=1))
        hearing.pass_time(30)

    with monkeypatch.context() as patched:
        patched.setattr(f"{FOLLOW}.time.sleep", wait)
        output = follow().output
    run = SyncRun.objects.get()
    assert len(waited) == 1
    assert f"default: run {run.pk} succeeded" in output
    assert Customer.objects.get().name == "Untold"


def test_it_follows_every_minute_until_it_is_stopped(hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    output = StringIO()
    with monkeypatch.context() as patched:
        patched.setattr(f"{FOLLOW}.time.sleep", sleep)
        with pytest.raises(KeyboardInterrupt):
            call_command("polar_sync_follow", "--interval", "30", stdout=output)
    assert output.getvalue().count("new events") == 3
    assert all(0 <= seconds <= 30 for seconds in pauses)


def test_error_does_not_end_the_following(hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    hearing.polar.faults.add(Fault(kind="unauthorized", operation="webhooks:list_webhook_deliveries"))
    output, pauses = StringIO(), iter([None, KeyboardInterrupt()])

    def sleep(_: Any) -> None:
        if error := next(pauses):
            raise error

    with monkeypatch.context() as patched:
        patched.setattr(f"{FOLLOW}.time.sleep", sleep)
        with pytest.raises(KeyboardInterrupt):
            call_command("polar_sync_follow", stdout=output, stderr=output)
    assert output.getvalue().count("new events") == 1
