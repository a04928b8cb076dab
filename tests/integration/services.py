"""What integration tests need from outside; where it is missing they skip, or fail if it is required."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

PROJECT = Path(__file__).resolve().parent.parent.parent
RECORDINGS = PROJECT.parent / "shared" / "recordings"


def go_without(what: str) -> NoReturn:
    """Skip the test for want of something, or fail it where POLAR_SYNC_REQUIRE_SERVICES=1 says that it must be."""
    if os.environ.get("POLAR_SYNC_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{what} is required and is not there", pytrace=False)
    pytest.skip(f"{what} is not there")
