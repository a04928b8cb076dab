"""The command: what it does, prints, and exits with."""

from __future__ import annotations

import gc
import json
from datetime import timedelta
from io import StringIO
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from pytest_django import Settings

from polar_sync import sync, tasks
from polar_sync.conf import settings as polar_settings
from polar_sync.management.commands.polar_sync import Command
from polar_sync.models import Customer, SyncRun
from polar_sync.testing import FakePolar, FakePolarServer, Fault

pytestmark = pytest.mark.django_db

KEYS = [
    "organization",
    "run",
    "status",
    "reason",
    "detail",
    "listed",
    "created",
    "updated",
    "unchanged",
    "stale",
    "deleted",
    "failed",
    "requests",
    "throttled_seconds",
    "seconds",
    "failures",
]


class Ended(NamedTuple):
    code: int
    output: str
    errors: str

    @property
    def line(self) -> dict[str, Any]:
        (line,) = self.output.splitlines()
        parsed: dict[str, Any] = json.loads(line)
        return parsed


@pytest.fixture
def polar(polar_server: FakePolarServer, settings: Settings) -> FakePolar:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "STATE_SOURCE": "per_customer"}
    return polar_server.polar


def run_command(*arguments: str, name: str = "polar_sync") -> Ended:
    output, errors = StringIO(), StringIO()
    code = 0
    try:
        call_command(name, *arguments, stdout=output, stderr=errors)
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    except CommandError as error:
        code = error.returncode
        errors.write(str(error))
    return Ended(code, output.getvalue(), errors.getvalue())


def add_organization(polar: FakePolar, settings: Settings, *, customers: int = 0, **keys: Any) -> FakePolar:
    other = polar.add_organization(seed=7, customers=customers)
    entries = settings.POLAR_SYNC["ORGANIZATIONS"]
    other_entry = {**entries["default"], "ACCESS_TOKEN": other.access_token, **keys}
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "ORGANIZATIONS": {**entries, "other": other_entry}}
    return other


def test_success_exits_with_0_and_says_what_was_done(polar: FakePolar) -> None:
    polar.generate_customers(12)
    ended = run_command()
    assert ended.code == 0
    assert ended.errors == ""
    run = SyncRun.objects.get()
    assert ended.output.startswith(
        f"default: run {run.pk} succeeded; 12 customers: 12 created; {len(polar.requests)} requests, "
    )


def test_json_has_exactly_the_documented_keys_in_one_line(polar: FakePolar) -> None:
    polar.generate_customers(12)
    polar.replace_state(polar.customers[3], {"id": None})
    ended = run_command("--json")
    assert ended.code == 1
    assert list(ended.line) == KEYS
    run = SyncRun.objects.get()
    assert ended.line["organization"] == "default"
    assert (ended.line["run"], ended.line["status"], ended.line["reason"]) == (run.pk, "partial", "customers_failed")
    assert (ended.line["listed"], ended.line["created"], ended.line["failed"]) == (12, 11, 1)
    assert ended.line["requests"] == len(polar.requests)
    assert ended.line["seconds"] > 0
    (failure,) = ended.line["failures"]
    assert set(failure) == {"id", "reason"}
    assert failure["id"] == polar.customers[3]
    assert ended.errors == ""


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (Fault(kind="unauthorized", times=None), "failed", "authentication"),
        (Fault(kind="bare_404", operation="customers:get_state"), "partial", "customers_failed"),
    ],
    ids=["failed", "partial"],
)
def test_partial_and_failed_exit_with_1(fault: Fault, status: str, reason: str, polar: FakePolar) -> None:
    polar.generate_customers(3)
    polar.faults.add(Fault(kind=fault.kind, operation=fault.operation, times=fault.times))
    ended = run_command()
    assert ended.code == 1
    assert f" {status} ({reason}: " in ended.output


@pytest.mark.parametrize("arguments", [(), ("--json",)], ids=["text", "json"])
def test_active_run_is_refused_with_3(arguments: tuple[str, ...], polar: FakePolar) -> None:
    run = sync.begin_run(polar_settings.get_organization("default"))
    ended = run_command(*arguments)
    assert ended.code == 3
    if arguments:
        assert list(ended.line) == KEYS
        assert (ended.line["run"], ended.line["status"], ended.line["reason"]) == (run.pk, "refused", "run_active")
    else:
        assert f"Run {run.pk} of default is active" in ended.errors
    assert not polar.requests


@pytest.mark.parametrize(
    ("keys", "arguments", "message"),
    [
        ({}, ("--organization", "defualt"), "defualt"),
        ({"ORGANIZATIONS": {}}, (), "ORGANIZATIONS"),
        ({"CONCURENCY": 2}, (), "CONCURRENCY"),
        ({"THROTTLE_STORAGE": "nonsense://"}, (), "memory://"),
        ({}, ("--customer", "usr_1337"), "--external-id"),
        ({}, ("--external-id", "a/b"), "'/'"),
        ({}, ("--external-id", "a", "--queue"), "--customer"),
    ],
)
def test_configuration_error_exits_with_2_and_leaves_no_run(
    keys: dict[str, Any], arguments: tuple[str, ...], message: str, polar: FakePolar, settings: Settings
) -> None:
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, **keys}
    ended = run_command(*arguments)
    assert ended.code == 2
    assert message in ended.errors
    assert not polar.requests
    assert not SyncRun.objects.exists()


def test_storage_that_cannot_be_opened_leaves_no_run_in_the_way(polar: FakePolar, settings: Settings) -> None:
    polar.generate_customers(2)
    fine = settings.POLAR_SYNC
    settings.POLAR_SYNC = {**fine, "THROTTLE_STORAGE": "memcached://127.0.0.1:1"}
    assert run_command().code == 2
    settings.POLAR_SYNC = fine
    assert run_command().code == 0


def test_every_organization_has_its_line_and_the_worst_decides(polar: FakePolar, settings: Settings) -> None:
    polar.generate_customers(3)
    other = add_organization(polar, settings, customers=4)
    ended = run_command("--json")
    assert ended.code == 0
    lines = [json.loads(line) for line in ended.output.splitlines()]
    assert [(line["organization"], line["listed"]) for line in lines] == [("default", 3), ("other", 4)]
    other.revoke_token(other.access_token)
    assert run_command("--json").code == 1
    assert run_command("--organization", "default").code == 0
    sync.begin_run(polar_settings.get_organization("default"))
    assert run_command().code == 1  # failed is worse than refused


def test_refused_organization_does_not_keep_the_others_from_their_run(polar: FakePolar, settings: Settings) -> None:
    sync.begin_run(polar_settings.get_organization("default"))
    add_organization(polar, settings, customers=4)
    ended = run_command("--json")
    assert ended.code == 3
    assert [json.loads(line)["status"] for line in ended.output.splitlines()] == ["refused", "succeeded"]


def break_database(error: Exception) -> Any:
    """The first write of a customer fails; what comes after it does not."""
    broken: list[str] = []

    def break_once(execute: Any, sql: str, *args: Any) -> Any:
        if not broken and sql.startswith("INSERT") and "polar_sync_customer" in sql:
            broken.append(sql)
            raise error
        return execute(sql, *args)

    return connection.execute_wrapper(break_once)


@pytest.mark.parametrize("error", [RuntimeError("boom"), OperationalError("the server closed the connection")])
def test_what_nobody_expected_costs_the_others_nothing(error: Exception, polar: FakePolar, settings: Settings) -> None:
    polar.generate_customers(3)
    add_organization(polar, settings, customers=4)
    with break_database(error):
        ended = run_command("--json")
    assert ended.code == 1
    first, second = [json.loads(line) for line in ended.output.splitlines()]
    assert list(first) == KEYS
    assert (first["organization"], first["status"], first["reason"]) == ("default", "failed", "error")
    assert first["detail"].startswith(f"{type(error).__name__}: {error}")
    assert (second["organization"], second["status"], second["listed"]) == ("other", "succeeded", 4)
    ended = run_command("--json", "--organization", "default")
    assert (ended.line["run"], ended.line["status"], ended.line["created"]) == (first["run"], "succeeded", 3)


def test_what_nobody_expected_is_told_without_json_too(polar: FakePolar) -> None:
    polar.generate_customers(3)
    with break_database(RuntimeError("boom")):
        ended = run_command()
    assert (ended.code, ended.output) == (1, "")
    assert "default: RuntimeError: boom" in ended.errors


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no connection that could be lost")
def test_lost_database_connection_costs_the_others_nothing(polar: FakePolar, settings: Settings) -> None:
    def lose() -> None:
        try:
            with connection.cursor() as cursor:  # of the server's own thread
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
        finally:
            connection.close()

    polar.generate_customers(3)
    add_organization(polar, settings, customers=4)
    polar.before("customers:get_state", lose)
    ended = run_command("--json")
    assert ended.code == 1
    first, second = [json.loads(line) for line in ended.output.splitlines()]
    assert (first["organization"], first["status"], first["reason"]) == ("default", "failed", "error")
    assert (second["organization"], second["status"], second["listed"]) == ("other", "succeeded", 4)
    ended = run_command("--json", "--organization", "default")
    assert (ended.line["run"], ended.line["status"], ended.line["created"]) == (first["run"], "succeeded", 3)


def test_mistake_of_one_organization_has_its_line_beside_the_others(polar: FakePolar, settings: Settings) -> None:
    polar.generate_customers(3)
    settings.POLAR_SYNC = {**settings.POLAR_SYNC, "THROTTLE_STORAGE": "memcached://127.0.0.1:1"}
    ended = run_command("--json")
    assert ended.code == 2
    assert list(ended.line) == KEYS
    assert (ended.line["status"], ended.line["reason"]) == ("failed", "configuration")


def test_mass_deletion_needs_its_word(polar: FakePolar) -> None:
    polar.generate_customers(12)
    run_command()
    for customer_id in polar.customers:
        polar.delete_customer(customer_id)
    polar.clock_offset += timedelta(seconds=10)
    ended = run_command("--json")
    assert (ended.code, ended.line["status"]) == (1, "partial")
    assert "--allow-mass-deletion" in ended.line["detail"]
    polar.clock_offset += timedelta(seconds=10)
    ended = run_command("--json", "--allow-mass-deletion")
    assert (ended.code, ended.line["deleted"]) == (0, 12)


def test_customer_is_mirrored_by_id(polar: FakePolar) -> None:
    customer = polar.create_customer(name="Ada")
    ended = run_command("--customer", customer["id"])
    assert (ended.code, ended.output) == (0, f"default: customer {customer['id']} created\n".replace("\n", ".\n"))
    assert Customer.objects.get().name == "Ada"
    assert polar.counts == {"customers:get_state": 1}
    assert not SyncRun.objects.exists()


def test_customer_is_mirrored_by_external_id(polar: FakePolar) -> None:
    polar.create_customer(external_id="usr_1337")
    ended = run_command("--external-id", "usr_1337", "--json")
    assert ended.code == 0
    assert ended.line == {"organization": "default", "customer": "usr_1337", "status": "created", "reason": ""}
    assert Customer.objects.with_external_id("usr_1337").count() == 1


@pytest.mark.parametrize("arguments", [("--customer", str(uuid4())), ("--external-id", "nobody")])
def test_customer_that_nobody_knows_exits_with_1(arguments: tuple[str, ...], polar: FakePolar) -> None:
    ended = run_command(*arguments, "--json")
    assert ended.code == 1
    assert ended.line["status"] == "failed"
    assert "no such object" in ended.line["reason"]


@pytest.mark.parametrize("by", ["--customer", "--external-id"])
def test_customer_that_was_deleted_on_polar_is_marked(by: str, polar: FakePolar) -> None:
    polar.create_customer()
    customer = polar.create_customer(external_id="usr_1337")
    run_command()
    polar.delete_customer(customer["id"])
    polar.clock_offset += timedelta(seconds=10)
    ended = run_command(by, customer["id" if by == "--customer" else "external_id"], "--json")
    assert (ended.code, ended.line["status"]) == (0, "deleted")
    assert str(Customer.all_objects.exclude(deleted_at=None).get().pk) == customer["id"]


def test_customer_of_several_organizations_needs_the_organization(polar: FakePolar, settings: Settings) -> None:
    customer = polar.create_customer()
    add_organization(polar, settings)
    ended = run_command("--customer", customer["id"])
    assert ended.code == 2
    assert "--organization" in ended.errors
    assert run_command("--customer", customer["id"], "--organization", "default").code == 0


def test_queue_hands_over_and_returns(polar: FakePolar, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, Any, Any]] = []

    def note(self: Any, args: Any = None, kwargs: Any = None, **_: Any) -> None:
        sent.append((self.name, args, kwargs))

    monkeypatch.setattr("celery.app.task.Task.apply_async", note)
    ended = run_command("--queue", "--json", "--allow-mass-deletion")
    assert (ended.code, ended.line["status"], list(ended.line)) == (0, "queued", KEYS)
    customer_id = str(uuid4())
    assert run_command("--queue", "--customer", customer_id).output == f"default: customer {customer_id} queued.\n"
    assert sent == [
        ("polar_sync.sync_organization", ("default",), {"is_mass_deletion_allowed": True}),
        ("polar_sync.refresh_customer", ("default", customer_id), {}),
    ]
    assert tasks.sync_organization.name == sent[0][0]
    assert not polar.requests


@pytest.mark.parametrize("arguments", [(), ("--json",), ("--customer", str(uuid4())), ("--external-id", "x")])
def test_token_is_in_no_output(arguments: tuple[str, ...], polar: FakePolar, caplog: pytest.LogCaptureFixture) -> None:
    polar.faults.add(Fault(kind="unauthorized", times=None))
    with caplog.at_level("DEBUG"):
        ended = run_command(*arguments)
    assert ended.code == 1
    assert polar.access_token not in f"{ended}{caplog.text}"


def test_lines_are_written_now_and_then_where_there_is_no_terminal(
    polar: FakePolar, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("polar_sync.management.reports._QUIET_SECONDS", 0.0)
    polar.generate_customers(150)
    assert run_command().code == 0
    assert capsys.readouterr().err.splitlines() == [
        "default: 100 of 150 customers",
        "default: 150 of 150 customers",
    ]


def test_json_is_quiet_beside_its_line(
    polar: FakePolar, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("polar_sync.management.reports._QUIET_SECONDS", 0.0)
    polar.generate_customers(3)
    ended = run_command("--json")
    assert (ended.errors, capsys.readouterr().err) == ("", "")


def test_process_of_the_command_keeps_what_it_loaded_out_of_the_garbage_collection(polar: FakePolar) -> None:
    before = gc.get_freeze_count()
    call_command("polar_sync", "--json", stdout=StringIO())
    assert gc.get_freeze_count() == before, "another's process is left alone"
    try:
        with pytest.raises(SystemExit):
            Command().run_from_argv(["manage.py", "polar_sync", "--help"])
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
