"""The versions of Polar's API that are known here: https://polar.sh/docs/api-reference/introduction."""

from __future__ import annotations

API_VERSION = "2026-04"
"""What the client asks for, as all of this was checked against it, and what a request without a version means."""
API_VERSIONS = (API_VERSION, "2026-10")
"""What is served; the two are equal in every operation on customers."""


def choose_version(asked: str | None) -> str | None:
    """The version that a header asks for: absent and empty are the current one. None where it is not served."""
    version = asked or API_VERSION
    return version if version in API_VERSIONS else None
