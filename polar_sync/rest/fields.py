"""Form fields for filters: they read a parameter of the query as Polar does, and tell in its words what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from polar_sync.rest.details import Location, ParameterError, read_all, read_uuid, read_uuids

METADATA = re.compile(r"metadata\[([^\]]+)\]", re.DOTALL)


class _Texts(forms.Widget):
    """All values of a repeated parameter, None where it is absent."""

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[str] | None:
        return data.getlist(name) if name in data else None


class _Metadata(forms.Widget):
    """The values of every `metadata[key]`, by key."""

    def value_from_datadict(self, data: Any, files: Any, name: str) -> dict[str, list[str]] | None:
        found = {hit[1]: data.getlist(key) for key in data if (hit := METADATA.fullmatch(key)) is not None}
        return found or None


class QueryField(forms.Field):
    """A parameter that may come once; of several the last counts. Absent is None, the empty text is a text."""

    widget = _Texts

    def __init__(self, *, name: str, read: Callable[[str, Location], Any]) -> None:
        super().__init__(required=False)
        self.location: Location = ("query", name)
        self.read = read

    def clean(self, value: list[str] | None) -> Any:
        """The value, or an error that carries its details."""
        if value is None:
            return None
        try:
            return self.read_texts(value)
        except ParameterError as error:
            raise ValidationError("invalid", params={"details": error.details}) from None

    def read_texts(self, texts: list[str]) -> Any:
        """From all of the parameter's values."""
        return self.read(texts[-1], self.location)


class RepeatedField(QueryField):
    """A parameter that may come several times; any of its values will do."""

    def read_texts(self, texts: list[str]) -> list[Any]:
        """Every value."""
        return read_all(self.read, texts, self.location)


class IdsField(QueryField):
    """Polar's ids, repeated; any of them will do."""

    def __init__(self, *, name: str) -> None:
        super().__init__(name=name, read=read_uuid)

    def read_texts(self, texts: list[str]) -> list[Any]:
        """Every id."""
        return read_uuids(texts, self.location)


class MetadataField(forms.Field):
    """Every `metadata[key]=value`, as key → texts."""

    widget = _Metadata

    def clean(self, value: Mapping[str, list[str]] | None) -> Mapping[str, list[str]] | None:
        """Any text is right."""
        return value


def read_text(text: str, location: Location) -> str:
    """Any text, as the database holds it."""
    return text
