from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management import call_command

from polar_sync.models import Organization
from polar_sync.store import Outcome
from tests.factories import apply_absences, apply_states, build_full_state, make_uuid, read_at
from tests.store.support import MIRROR, take_snapshot


def truncate_times(value: Any) -> Any:
    """To milliseconds, which is as fine as Django writes them into JSON; payloads keep theirs."""
    if isinstance(value, dict):
        return {key: truncate_times(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return value.replace(microsecond=value.microsecond // 1_000 * 1_000)
    return value


def test_mirror_survives_being_dumped_and_loaded(organization: Organization, tmp_path: Path) -> None:
    hostile = {
        **build_full_state("hostile"),
        "name": "\x00\ud800" * 1_000,
        "metadata": {"\ud800": 1e308, "n": -0.0, "i": 10**30},
        "created_at": "0001-01-01T00:00:00Z",
        "tax_id": None,
        "new": ["\x00"],
    }
    states = [build_full_state("a"), hostile, build_full_state("deleted")]
    apply_states(organization, *states, interval=read_at(0))
    apply_absences(organization, "deleted", interval=read_at(1))
    before = truncate_times(take_snapshot(without=()))
    path = tmp_path / "dump.json"
    call_command("dumpdata", "polar_sync", output=str(path))
    for model in reversed(MIRROR):
        model._default_manager.all().delete()
    organization.delete()

    call_command("loaddata", str(path), verbosity=0)

    assert truncate_times(take_snapshot(without=())) == before
    organization = Organization.objects.get()
    result = apply_states(organization, *states[:2], interval=read_at(2))
    assert set(result.outcomes.values()) == {Outcome.UNCHANGED}
    assert result.outcomes.keys() == {make_uuid("a"), make_uuid("hostile")}
