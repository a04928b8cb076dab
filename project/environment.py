"""What the settings read from the environment, checked before Django uses it."""

from typing import Any

from django.core.exceptions import ImproperlyConfigured

SHORTEST_KEY = 50
FEWEST_KEY_CHARACTERS = 5

# The transaction takes its write lock when it begins and waits for it, where SQLite's default would let two
# transactions read first and then fail one of them at once ("database is locked") when both want to write.
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 30,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}


# To connect to PostgreSQL takes longer than most requests. A connection that the server has closed meanwhile is found
# out before it is used.
KEPT_CONNECTIONS = {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}


def prepare_database(database: dict[str, Any]) -> dict[str, Any]:
    """The parsed `DATABASE_URL`, with options for several writers where it is SQLite, else with kept connections."""
    if not database["ENGINE"].endswith(".sqlite3"):
        return {**KEPT_CONNECTIONS, **database}
    return {**database, "OPTIONS": {**SQLITE_OPTIONS, **database.get("OPTIONS", {})}}


def parse_requests_per_minute(text: str) -> int | float | None:
    """`POLAR_REQUESTS_PER_MINUTE`: "300" is a number of requests, "0.5" a share of Polar's limit, "" the default."""
    if not text:
        return None
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        message = "POLAR_REQUESTS_PER_MINUTE must be a number of requests (300) or a share of Polar's limit (0.5)."
        raise ImproperlyConfigured(message) from None


def parse_webhook_secrets(text: str) -> list[str]:
    """`POLAR_WEBHOOK_SECRET`: one secret, or the new and the old one with a comma between them."""
    return [each.strip() for each in text.split(",") if each.strip()]


def require_secure_key(key: str) -> None:
    """Refuse a production mode in which sessions could be forged."""
    if len(key) >= SHORTEST_KEY and len(set(key)) >= FEWEST_KEY_CHARACTERS and not key.startswith("django-insecure-"):
        return
    state = "insecure" if key else "missing"
    message = (
        f"DJANGO_SECRET_KEY is {state}, and this is production mode. Give a random key of at least {SHORTEST_KEY} "
        'characters (python -c "import secrets; print(secrets.token_urlsafe(50))"), or DJANGO_DEBUG=1 for development.'
    )
    raise ImproperlyConfigured(message)
