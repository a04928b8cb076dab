"""Who asks: a bearer token of this site's, or of a customer's session on Polar.

A token's user and whether they have the permissions that a view asks for come in one statement, but only where that is
what Django's own backend would say: with Django's user model, `ModelBackend` alone, and the token model of knox.
Everywhere else the backends are asked. Nothing is kept beyond the request that was authorized.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group, Permission, PermissionsMixin, User
from django.db import connections, router
from django.db.models import Exists, Model, OuterRef, Q
from django.db.models.sql import Query
from django.utils import timezone
from django.utils.crypto import salted_hmac
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.request import Request

from polar_sync.tokens import Token

_BACKEND = "django.contrib.auth.backends.ModelBackend"
_PLACEHOLDER = "the digest of a token"
_GRANTS = "_polar_sync_grants"
SESSION_PREFIX = "polar_cst_"
ORGANIZATION_PREFIX = "polar_oat_"
_MAX_LENGTH = 512


class _Statement(NamedTuple):
    """The statement for a token whose digest is `_PLACEHOLDER`; to build it takes longer than to answer it."""

    sql: str
    parameters: tuple[Any, ...]
    columns: tuple[Any, ...]


def is_stock() -> bool:
    """Whether users, their permissions and tokens are those that Django and knox ship, all in one database."""
    # Read anew each time: whoever may come in must not depend on what was set when the process started.
    if list(settings.AUTHENTICATION_BACKENDS) != [_BACKEND] or get_user_model() is not User:
        return False
    if any(getattr(User, name) is not getattr(PermissionsMixin, name) for name in ("has_perm", "has_perms")):
        return False
    token = _get_token_model()
    models = (token, User, Permission, Group)
    return token._meta.label == "knox.AuthToken" and len({router.db_for_read(one) for one in models}) == 1  # noqa: SLF001


def find_token(digest: str, permissions: Iterable[str]) -> Any:
    """The valid token with that digest and its active user, None where there is none.

    Where `is_stock()`, it comes with whether the user has `permissions`, so that nobody has to be asked again.
    """
    token = _find_with_grants(digest, tuple(permissions)) if is_stock() else _find_alone(digest)
    if token is None or not token.user.is_active:
        return None
    return token if token.expiry is None or token.expiry > timezone.now() else None


def has_permissions(request: Request, permissions: Iterable[str]) -> bool:
    """Whether the user has all of these: as the token was found with, else as the authentication backends say."""
    wanted = tuple(permissions)
    user = request.user
    grants: Mapping[str, bool] | None = getattr(request.auth, _GRANTS, None)
    # Not of another user, whom an authentication class of the project put in the place of the token's own.
    if grants is None or request.auth.user is not user or not grants.keys() >= set(wanted):
        return user.has_perms(wanted)
    return user.is_active and (user.is_superuser or all(grants[name] for name in wanted))


def _get_token_model() -> Any:
    # Its models need the app to be installed.
    from knox.models import get_token_model  # noqa: PLC0415

    return get_token_model()


def _find_alone(digest: str) -> Any:
    return _get_token_model().objects.select_related("user").filter(digest=digest).first()


def _find_with_grants(digest: str, permissions: tuple[str, ...]) -> Any:
    model = _get_token_model()
    alias = router.db_for_read(model)
    statement = _compile(alias, permissions)
    with connections[alias].cursor() as cursor:
        cursor.execute(statement.sql, [digest if one == _PLACEHOLDER else one for one in statement.parameters])
        row = cursor.fetchone()
    if row is None:
        return None
    values = iter(_convert(row, statement, alias))
    token, user = (_make(one, alias, values) for one in (model, User))
    token.user = user
    setattr(token, _GRANTS, dict(zip(permissions, values, strict=True)))
    return token


def _make(model: Any, alias: str, values: Iterator[Any]) -> Any:
    names = _get_names(model)
    return model.from_db(alias, names, list(islice(values, len(names))))


@cache
def _compile(alias: str, permissions: tuple[str, ...]) -> _Statement:
    model = _get_token_model()
    grants = {f"grant_{number}": _grant(name) for number, name in enumerate(permissions)}
    names = (*_get_names(model), *(f"user__{name}" for name in _get_names(User)), *grants)
    rows = model._base_manager.filter(pk=_PLACEHOLDER).annotate(**grants).values_list(*names)  # noqa: SLF001
    compiler = rows.query.get_compiler(alias)
    sql, parameters = compiler.as_sql()
    return _Statement(sql, parameters, tuple(column for column, *_ in compiler.select))


def _convert(row: Sequence[Any], statement: _Statement, alias: str) -> Sequence[Any]:
    """The values as models hold them: SQLite has neither times nor truth."""
    compiler = Query(User).get_compiler(alias)
    converters = compiler.get_converters(statement.columns)
    return next(iter(compiler.apply_converters([row], converters))) if converters else row


def _grant(name: str) -> Exists:
    """Whether the outer token's user has it, by themselves or by a group."""
    app_label, _, codename = name.partition(".")
    user = OuterRef(OuterRef("user_id"))
    own = User.user_permissions.through.objects.filter(user_id=user).values("permission_id")
    groups = User.groups.through.objects.filter(user_id=OuterRef(user)).values("group_id")
    shared = Group.permissions.through.objects.filter(group_id__in=groups).values("permission_id")
    found = Permission.objects.filter(Q(pk__in=own) | Q(pk__in=shared))
    return Exists(found.filter(content_type__app_label=app_label, codename=codename))


def _get_names(model: type[Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]  # noqa: SLF001 - Django's public name for it


def read_bearer(request: Request) -> str | None:
    """The token behind `Authorization: Bearer`; None where the header is absent or says something else."""
    words = get_authorization_header(request).split()
    if not words or words[0].lower() != b"bearer":
        return None
    token = words[1].decode("latin-1") if len(words) == 2 else ""  # noqa: PLR2004 - the scheme and the token
    if not token.isascii() or not token.isprintable() or not 0 < len(token) <= _MAX_LENGTH:
        raise AuthenticationFailed
    return token


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer` with a token of django-rest-knox, which keeps only its hash.

    Needs `knox` in INSTALLED_APPS; without it no token is right. https://jazzband.github.io/django-rest-knox/
    """

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        """The token's user and the token; None where none was shown."""
        token = read_bearer(request)
        if token is None:
            return None
        if not apps.is_installed("knox"):
            raise AuthenticationFailed
        # Its hashes and models need the app to be installed.
        from knox.crypto import hash_token  # noqa: PLC0415

        get_permissions = getattr((request.parser_context or {}).get("view"), "get_required_permissions", tuple)
        shown = find_token(hash_token(token), get_permissions())
        if shown is None:
            raise AuthenticationFailed
        return shown.user, shown

    def authenticate_header(self, request: Request) -> str:
        """What a 401 asks for."""
        return "Bearer"


@dataclass(frozen=True, slots=True)
class SessionToken:
    """A customer session token, as it was shown; only Polar can tell whether it is right."""

    value: Token

    def get_key(self) -> str:
        """What stands for it in the cache: nobody can tell the token from it, or find one that gives it."""
        return salted_hmac("polar_sync.rest.portal", self.value.get_digest(), algorithm="sha256").hexdigest()


class PortalSessionAuthentication(BaseAuthentication):
    """A customer session token of Polar's, for the customer portal alone.

    https://polar.sh/docs/api-reference/customer-portal/sessions/create
    """

    def authenticate(self, request: Request) -> tuple[AnonymousUser, SessionToken] | None:
        """Nobody of this site's, with the token. Polar's organization tokens are refused, as Polar does here."""
        token = read_bearer(request) or ""
        if token.startswith(ORGANIZATION_PREFIX):
            raise NotAuthenticated
        return (AnonymousUser(), SessionToken(Token(token))) if token.startswith(SESSION_PREFIX) else None

    def authenticate_header(self, request: Request) -> str:
        """What a 401 asks for."""
        return "Bearer"
