"""What goes in and out: JSON that survives whatever Polar sends, and HTML for whoever asks for that by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Any

from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request

from polar_sync.rest.details import make_detail
from polar_sync.rest.errors import refuse_value, refuse_values


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


class PolarNegotiation(DefaultContentNegotiation):
    """As on Polar, what a caller accepts does not keep the answer from them: who takes nothing of ours gets JSON."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """The renderer and its media type."""
        known = list(renderers)
        try:
            renderer, media_type = super().select_renderer(request, known, format_suffix)
        except NotAcceptable:
            return known[0], str(known[0].media_type)
        if isinstance(renderer, JSONRenderer):
            return renderer, str(renderer.media_type)  # without parameters such as an indent
        return renderer, media_type


class PolarJSONParser(BaseParser):
    """A JSON object, or Polar's 422."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The body's fields."""
        try:
            value = json.loads(stream.read().decode("utf-8"), parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            raise refuse_values(
                [make_detail("json_invalid", ("body", error.pos), "JSON decode error", {}, error=error.msg)]
            ) from None
        except (ValueError, RecursionError):
            raise refuse_value("json_invalid", ("body", 0), "JSON decode error", {}) from None
        if isinstance(value, dict):
            return value
        message = "Input should be a valid dictionary or object to extract fields from"
        raise refuse_value("model_attributes_type", ("body",), message, value)


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)
