"""The API's description by OpenAPI, a page to browse it, and the answer to paths that there are not."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerView
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from polar_sync import __name__ as package_name
from polar_sync.client.parameters import API_VERSION
from polar_sync.rest.views.base import get_version_headers

TITLE = "Mirrored Polar customers"
DESCRIPTION = (
    "Customers, subscriptions, benefit grants and meters as Polar last told of them. The paths of customers answer as "
    "Polar's own API does (https://polar.sh/docs/api-reference/customers/list), from the local database."
)
CUSTOM_SETTINGS: dict[str, Any] = {
    "TITLE": TITLE,
    "DESCRIPTION": DESCRIPTION,
    "VERSION": API_VERSION,
    "SCHEMA_PATH_PREFIX": "/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "POSTPROCESSING_HOOKS": [],
    "PREPROCESSING_HOOKS": [],
    "TAGS": [],
    "SERVERS": [],
    "APPEND_COMPONENTS": {
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "session": {"type": "apiKey", "in": "cookie", "name": "sessionid"},
        }
    },
}


class SchemaView(SpectacularJSONAPIView):
    """The description, which holds no data and is for everybody."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = ()
    urlconf = f"{package_name}.rest.urls"
    custom_settings = CUSTOM_SETTINGS

    def _get_schema_response(self, request: Request) -> Any:
        """With the address below which this API is to be found on this site."""
        response = super()._get_schema_response(request)  # type: ignore[no-untyped-call]
        response.data["servers"] = [{"url": reverse("polar_sync_rest:schema").removesuffix("/openapi.json") or "/"}]
        return response


class DocumentationView(SpectacularSwaggerView):
    """The description as a page on which it can be tried."""

    authentication_classes = (SessionAuthentication,)
    permission_classes = (AllowAny,)
    throttle_classes = ()
    url_name = "polar_sync_rest:schema"
    title = TITLE


@csrf_exempt
def route_not_found_response(request: HttpRequest) -> HttpResponse:
    """404 to any other path, whoever asks: nothing is there."""
    return JsonResponse({"detail": "Not Found"}, status=404, headers=get_version_headers(request))
