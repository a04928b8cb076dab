"""Shapes of errors for the API's description: https://polar.sh/docs/api-reference/introduction."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers as s

from polar_sync.rest.shapes import Shape


@extend_schema_field({"type": "array", "items": {"oneOf": [{"type": "string"}, {"type": "integer"}]}})
class _Location(s.JSONField):
    pass


@extend_schema_field({})
class _Anything(s.JSONField):
    pass


class Failure(Shape):
    """What went wrong beyond the caller's reach."""

    error = s.CharField()
    detail = s.CharField()


class Unauthorized(Shape):
    """`detail` without a token, `error_description` with one that is not right."""

    error = s.CharField()
    detail = s.CharField(required=False)
    error_description = s.CharField(required=False)


class InsufficientScope(Unauthorized):
    """WWW-Authenticate names the scopes that would do."""


class NotFound(Shape):
    """`error` is `ResourceNotFound` for an object; a path that there is not has none."""

    error = s.CharField(required=False)
    detail = s.CharField()


class Detail(Shape):
    """Some words."""

    detail = s.CharField()


class Conflict(Failure):
    """With the run that is in the way."""

    run = s.IntegerField(required=False)


class ValidationDetail(Shape):
    """One value that does not fit."""

    type = s.CharField()
    loc = _Location()
    msg = s.CharField()
    input = _Anything(required=False)
    ctx = s.DictField(required=False)


class ValidationErrors(Shape):
    """All values that do not fit."""

    error = s.CharField()
    detail = ValidationDetail(many=True)
