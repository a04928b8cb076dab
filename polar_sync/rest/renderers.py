"""What goes in and out: JSON that survives whatever Polar sends, and a page for whoever browses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import QueryDict
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request

from polar_sync.rest.errors import ApiError, RequestValidationError
from polar_sync.rest.validation import ParameterError, make_detail

FORMAT = "format"
_JSON, _HTML = "application/json", "text/html"
_FORMATS = frozenset({JSONRenderer.format, BrowsableAPIRenderer.format})


class PolarJSONRenderer(JSONRenderer):
    """ASCII: a lone surrogate, which UTF-8 cannot carry, goes out as its escape."""

    ensure_ascii = True
    compact = True
    strict = False

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        """`JSONText` goes out as it is, but where a person looks at it."""
        if isinstance(data, JSONText):
            if not (renderer_context or {}).get("indent"):
                return data.text.encode()
            data = json.loads(data.text)
        rendered: bytes = super().render(data, accepted_media_type, renderer_context)
        return rendered


@dataclass(frozen=True, slots=True)
class JSONText:
    """A body that is JSON already, in ASCII."""

    text: str


class CSVRenderer(BaseRenderer):
    """Stands for the streamed export in the negotiation; errors come as JSON."""

    media_type = "text/csv"
    format = "csv"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        """An error's body; the export itself is no `Response`."""
        context = dict(renderer_context or {})
        if "response" in context:
            context["response"]["Content-Type"] = "application/json"
        return PolarJSONRenderer().render(data, accepted_media_type, context)


class PolarNegotiation(BaseContentNegotiation):
    """As on Polar, JSON whatever a caller accepts; a page for whoever is signed in with a browser and asks for one."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        return next(iter(parsers))

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """The renderer and its media type."""
        known = list(renderers)
        page = next((one for one in known if isinstance(one, BrowsableAPIRenderer)), None)
        chosen = page if page is not None and _wants_page(request) else known[0]
        return chosen, str(chosen.media_type)


def is_browsing(request: Request) -> bool:
    """Whether somebody looks with a browser: a program shows a token."""
    return "Authorization" not in request.headers and settings.SESSION_COOKIE_NAME in request.COOKIES


def is_format(request: Request, name: str) -> bool:
    """Whether this parameter is the one by which the page for browsing links to JSON and back."""
    return name == FORMAT and is_browsing(request) and request.query_params[name] in _FORMATS


def _wants_page(request: Request) -> bool:
    if not is_browsing(request):
        return False
    asked = request.query_params.get(FORMAT)
    if asked in _FORMATS:
        return asked == BrowsableAPIRenderer.format
    django_request = request._request  # noqa: SLF001 - Django weighs the types
    return django_request.get_preferred_type([_JSON, _HTML]) == _HTML


class Body(QueryDict):
    """What a request's body holds: a JSON value, or the text of what is no JSON.

    To Django, whose check of a session's CSRF token looks for a form where the body says that it is one, a form
    without fields.
    """

    def __init__(self, value: Any) -> None:
        super().__init__("")
        self.value = value


class PolarJSONParser(BaseParser):
    """Any body, of which only what says that it is JSON is read as such. Raises what Polar answers where it is not."""

    media_type = _JSON

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """The `Body`, of at most `DATA_UPLOAD_MAX_MEMORY_SIZE` bytes."""
        try:
            content: bytes = (parser_context or {})["request"].body
        except RequestDataTooBig:
            raise ApiError(413, {"detail": "The body is larger than this site takes"}) from None
        if not is_json(media_type):
            return Body(content.decode("utf-8", "replace"))
        try:
            return Body(json.loads(content, parse_constant=_reject_constant))
        except json.JSONDecodeError as error:
            raise RequestValidationError(
                [make_detail("json_invalid", ("body", error.pos), "JSON decode error", {}, error=error.msg)]
            ) from None
        except (ValueError, RecursionError):
            raise ApiError(400, {"detail": "There was an error parsing the body"}) from None


def is_json(media_type: str | None) -> bool:
    """Whether a body of this type is JSON to Polar."""
    name = (media_type or "").partition(";")[0].strip().lower()
    return name == _JSON or (name.startswith("application/") and name.endswith("+json"))


def read_fields(request: Request) -> dict[str, Any]:
    """The fields of the JSON object in the body. Raises `ParameterError` where there is none."""
    body: Any = request.data
    value = body.value if isinstance(body, Body) else None
    if isinstance(value, dict):
        return dict(value)
    if value is None:
        raise ParameterError(make_detail("missing", ("body",), "Field required", None))
    message = "Input should be a valid dictionary or object to extract fields from"
    raise ParameterError(make_detail("model_attributes_type", ("body",), message, value))


def has_body(request: Request) -> bool:
    """Whether anything was sent."""
    body: Any = request.data
    return isinstance(body, Body)


def _reject_constant(name: str) -> Any:
    """Polar's server reads NaN and infinities, which are no JSON and nothing that it could store."""
    raise json.JSONDecodeError(f"{name} is no JSON", "", 0)
