"""The messages of the source, and the catalogues of their translations, without GNU gettext.

`python -m tests.catalogues` brings every catalogue up to date with the source, compiles it, and lists what is not
translated yet.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract, extract_python
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parent.parent
LANGUAGES = ("de", "fr")
# The folder that each catalogue is in, and those whose messages it translates.
SOURCES = {"polar_sync": [ROOT / "polar_sync"], "project": [ROOT / "project", ROOT / "templates"]}
WIDTH = 120
# Lines of the header that Babel writes and nobody fills in.
_PLACEHOLDERS = re.compile(
    rb'^"(?:Project-Id-Version|Report-Msgid-Bugs-To|PO-Revision-Date|Last-Translator|Language-Team|Generated-By): .*\n',
    re.MULTILINE,
)
# The functions of django.utils.translation, with the places of their singular, plural and context.
_FUNCTIONS: dict[str, Any] = {
    "gettext": None,
    "ngettext": (1, 2),
    "pgettext": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
}
KEYWORDS: dict[str, Any] = {
    "_": None,
    "gettext_noop": None,
    **_FUNCTIONS,
    **{f"{name}_lazy": places for name, places in _FUNCTIONS.items()},
}


def find_catalogue(name: str, language: str) -> Path:
    """Where the .po is; the .mo is beside it."""
    return ROOT / name / "locale" / language / "LC_MESSAGES" / "django.po"


def read_catalogue(path: Path, language: str) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=language)


def compile_catalogue(path: Path, language: str) -> bytes:
    """What belongs into the .mo."""
    compiled = io.BytesIO()
    write_mo(compiled, read_catalogue(path, language))
    return compiled.getvalue()


def read_source(name: str) -> Catalog:
    """The messages that a catalogue must translate."""
    return read_messages(SOURCES[name])


def read_messages(folders: Iterable[Path]) -> Catalog:
    """The messages of templates and modules, untranslated.

    Raises ValueError where the same text is a message with a plural and one without.
    """
    found = Catalog()
    is_plural: dict[tuple[str, str | None], bool] = {}
    for path in _list_sources(folders):
        for line, message, context in _extract(path):
            place = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
            added = found.add(message, locations=[(place, line)], context=context)
            if is_plural.setdefault(get_key(added), not isinstance(message, str)) == isinstance(message, str):
                raise ValueError(f"{place}:{line}: both with and without a plural: {get_key(added)[0]}")
    return found


def update(folders: Iterable[Path], path: Path, language: str) -> list[Message]:
    """Add what is new in the source, drop what it has no more, compile; gives what is not translated yet."""
    catalogue = read_catalogue(path, language) if path.exists() else Catalog(locale=language, fuzzy=False)
    catalogue.header_comment = "# Translations of polar_sync."
    catalogue.update(read_messages(folders), no_fuzzy_matching=True, update_creation_date=False)
    written = io.BytesIO()
    write_po(written, catalogue, width=WIDTH, ignore_obsolete=True, include_lineno=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_PLACEHOLDERS.sub(b"", written.getvalue()))
    path.with_suffix(".mo").write_bytes(compile_catalogue(path, language))
    return list_untranslated(catalogue)


def list_messages(catalogue: Catalog) -> list[Message]:
    """All but the header."""
    return [message for message in catalogue if message.id]


def list_untranslated(catalogue: Catalog) -> list[Message]:
    return [message for message in list_messages(catalogue) if message.fuzzy or not all(get_strings(message))]


def get_key(message: Message) -> tuple[str, str | None]:
    """What gettext looks a message up by: its singular and its context."""
    return get_ids(message)[0], message.context


def get_ids(message: Message) -> tuple[str, ...]:
    """The text, or its singular and its plural."""
    return (message.id,) if isinstance(message.id, str) else tuple(message.id)


def get_strings(message: Message) -> tuple[str, ...]:
    """The translation, in each form that it has."""
    return (message.string or "",) if isinstance(message.string, str | None) else tuple(message.string)


def _list_sources(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        for suffix in ("html", "py"):
            yield from sorted(folder.rglob(f"*.{suffix}"))


def _extract(path: Path) -> Iterator[tuple[int, Any, str | None]]:
    method: Any = _extract_template if path.suffix == ".html" else "python"
    with path.open("rb") as file:
        for line, message, _comments, context in extract(method, file, KEYWORDS):
            yield line, message, context


def _extract_template(file: IO[bytes], keywords: Any, comment_tags: Any, options: Any) -> Any:
    """What Babel finds in the calls of Python that Django makes of a template.

    Brackets around them, so that their indentation means nothing.
    """
    code = templatize(file.read().decode())
    return extract_python(io.BytesIO(f"({code}\n)".encode()), keywords, comment_tags, options)


def main(languages: Sequence[str] = LANGUAGES) -> int:
    is_complete = True
    for name, folders in SOURCES.items():
        for language in languages:
            for message in update(folders, find_catalogue(name, language), language):
                print(f"{name} {language}: not translated: {message.id!r}")  # noqa: T201 - a command
                is_complete = False
    return 0 if is_complete else 1


if __name__ == "__main__":
    sys.exit(main())
