"""Run inside a clean project: visit every page of the admin that a link leads to, and the paths given, as a superuser.

Prints JSON: `modules` by whether they can be imported, and the status of each kind of page by its path, once for each
parameter that a link has.
"""

import importlib.util
import json
import re
import sys
from html import unescape
from urllib.parse import parse_qs, urljoin, urlsplit

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402 - only once Django is set up
from django.test import Client  # noqa: E402

MODULES = ("polar_sync", "psycopg", "psycopg2", "pytest")
ADMIN = "/admin/"
LEFT_OUT = ("/admin/logout/", "/admin/jsi18n/", "/admin/password_change/", "/admin/auth/")
_ID = re.compile(r"/(?:[0-9a-f]{8}-[0-9a-f-]{27}|\d+)/")


def main(*paths: str) -> None:
    client = Client(SERVER_NAME="localhost", raise_request_exception=False)
    client.force_login(User.objects.create_superuser("boss"))
    print(  # noqa: T201
        json.dumps(
            {
                "modules": {name: importlib.util.find_spec(name) is not None for name in MODULES},
                "rest": {path: client.get(path).status_code for path in paths},
                "admin": visit_admin(client),
            }
        )
    )


def visit_admin(client: Client) -> dict[str, int]:
    waiting, statuses = [ADMIN], dict[str, int]()
    while waiting:
        path = waiting.pop()
        kind = name_kind(path)
        if kind in statuses:
            continue
        answer = client.get(path)
        statuses[kind] = answer.status_code
        body = b"".join(answer) if answer.streaming else answer.content
        if answer["Content-Type"].startswith("text/html"):
            links = re.findall(r'href="([^"#]+)"', body.decode())
            waiting += filter(is_visited, (urljoin(path, unescape(link)) for link in links))
    return statuses


def is_visited(path: str) -> bool:
    parts = urlsplit(path)
    return (
        not parts.netloc
        and parts.path.startswith(ADMIN)
        and not parts.path.startswith(LEFT_OUT)
        and len(parse_qs(parts.query, keep_blank_values=True)) <= 1
    )


def name_kind(path: str) -> str:
    """One name for pages that differ in the object they show or in a parameter's value alone."""
    parts = urlsplit(path)
    names = "&".join(sorted(parse_qs(parts.query, keep_blank_values=True)))
    return _ID.sub("/<id>/", parts.path) + (f"?{names}" if names else "")


if __name__ == "__main__":
    main(*sys.argv[1:])
