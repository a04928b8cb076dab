"""What all views have in common: whose settings they follow, who may, and what Polar puts on every answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar

from django.db import connections, transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from polar_sync.client.parameters import choose_version
from polar_sync.conf import settings
from polar_sync.rest.errors import RequestValidationError, UnknownRouteError, handle_error
from polar_sync.rest.permissions import READ, WRITE, HasRequiredPermissions
from polar_sync.rest.renderers import PolarJSONParser, PolarJSONRenderer, PolarNegotiation, is_format
from polar_sync.rest.schema import PolarSchema
from polar_sync.rest.validation import make_detail

VERSION_HEADER = "Polar-Version"


class PolarView(APIView):
    """A view that speaks as Polar does, whatever the project's defaults for Django REST framework are."""

    renderer_classes: Sequence[type[BaseRenderer]] = (PolarJSONRenderer, BrowsableAPIRenderer)
    parser_classes = (PolarJSONParser,)
    content_negotiation_class = PolarNegotiation
    versioning_class = None
    schema = PolarSchema()

    #: Django's permissions for each method; HEAD and OPTIONS need those of GET.
    permissions_by_method: ClassVar[Mapping[str, tuple[str, ...]]] = {"GET": (READ,)}
    #: Query parameters of all methods; any other is refused.
    parameters: ClassVar[Collection[str]] = frozenset()

    def get_authenticators(self) -> list[BaseAuthentication]:
        return [import_string(path)() for path in settings.rest_authentication_classes]

    def get_permissions(self) -> Sequence[BasePermission]:
        """By `REST_PERMISSION_CLASSES`, and Django's permissions whatever those say."""
        return [*(import_string(path)() for path in settings.rest_permission_classes), HasRequiredPermissions()]

    def get_throttles(self) -> list[BaseThrottle]:
        return [import_string(path)() for path in settings.rest_throttle_classes]

    def get_required_permissions(self) -> tuple[str, ...]:
        """Of the present request; a method that there is not needs what reading does, or all there is."""
        permissions = self.permissions_by_method
        method = str(self.request.method)
        every = tuple(dict.fromkeys(name for names in permissions.values() for name in names))
        return permissions.get(method) or permissions.get("GET") or every

    def get_scopes(self) -> list[str]:
        """The present request's permissions in Polar's words."""
        wanted = self.get_required_permissions()
        if WRITE in wanted:
            return ["customers:write"]
        return ["customers:read", "customers:write"] if READ in wanted else list(wanted)

    def is_known_parameter(self, name: str) -> bool:
        """Whether the query may hold this."""
        return name in self.parameters or is_format(self.request, name)

    def get_exception_handler(self) -> Callable[..., Response | None]:
        return handle_error

    def check_permissions(self, request: Request) -> None:
        """As on Polar, a body that is no JSON is told of first, but only to somebody who is signed in."""
        if request.user.is_authenticated and request.method in {"POST", "PATCH"} & {*self.allowed_methods}:
            # What it holds is kept on the request.
            request.data  # noqa: B018
        super().check_permissions(request)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse an unknown version, whoever must not come in, and parameters that mean nothing here."""
        if not get_version_headers(request):
            raise UnknownRouteError
        super().initial(request, *args, **kwargs)
        unknown = [name for name in request.query_params if not self.is_known_parameter(name)]
        if unknown:
            message = "Extra inputs are not permitted"
            raise RequestValidationError(
                [
                    make_detail("extra_forbidden", ("query", name), message, request.query_params[name])
                    for name in unknown
                ]
            )

    def finalize_response(  # type: ignore[override] # a 304 and a stream are no `Response`
        self, request: Request, response: HttpResponseBase, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        """Name the version on every answer, but not on one to another version."""
        final: HttpResponseBase = super().finalize_response(request, response, *args, **kwargs)  # type: ignore[arg-type]
        for name, value in get_version_headers(request).items():
            final[name] = value
        return final


def get_version_headers(request: HttpRequest | Request) -> dict[str, str]:
    """What every answer carries, but those to a version that is not served."""
    version = choose_version(request.headers.get(VERSION_HEADER))
    return {VERSION_HEADER: version} if version else {}


class PolarAskingView(PolarView):
    """A view that may ask Polar, during which no transaction must be open."""

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:
        """The view, left alone by `ATOMIC_REQUESTS` on every database."""
        view = super().as_view(**initkwargs)
        for alias in connections:
            view = transaction.non_atomic_requests(using=alias)(view)
        return view
