from __future__ import annotations

import pytest

from polar_sync.models import Organization
from tests.factories import create_organization


@pytest.fixture
def organization(db: None) -> Organization:
    return create_organization()
