"""A test of somebody who uses the package, run inside a clean project."""

import pytest
from django.core.management import call_command

from polar_sync.models import Customer
from polar_sync.testing import FakePolarServer


@pytest.mark.django_db
def test_customer_is_mirrored(polar_server: FakePolarServer) -> None:
    polar_server.polar.create_customer(email="ada@example.com", external_id="usr_1")
    call_command("polar_sync")
    assert Customer.objects.with_external_id("usr_1").get().email == "ada@example.com"
