"""What the README shows is what there is: its examples run, its tables are the code's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from polar_sync.sync import events
from tests.integration.test_wheel import read_readme
from tests.services import PROJECT, build_environment

README = (PROJECT / "README.md").read_text()


@pytest.mark.any_database
def test_test_of_a_webhook_passes(tmp_path: Path) -> None:
    (example,) = read_readme("test_access.py")
    path = tmp_path / "test_access.py"
    path.write_text(example)
    environment = build_environment(
        DATABASE_URL=f"sqlite:///{tmp_path / 'db.sqlite3'}",
        # Without workers, as in a project that has no Celery.
        CELERY_BROKER_URL="memory://",
        POLAR_SYNC_WORK_DIR=tmp_path,
    )
    options = ("-p", "no:cacheprovider", "-c", "/dev/null", f"--rootdir={tmp_path}", "--ds=project.settings")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(path)],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_table_of_events_is_that_of_the_module() -> None:
    rows = re.findall(r"^\|.*\|$", events.__doc__ or "", re.MULTILINE)
    assert len(rows) > 5
    assert "\n".join(rows) in README
