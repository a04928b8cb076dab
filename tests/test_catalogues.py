"""Every text of the package is translated, and the catalogues say nothing else."""

from __future__ import annotations

import gettext
import io
import re
from pathlib import Path

import django
import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import read_mo
from django.utils import translation

from tests.catalogues import (
    LANGUAGES,
    SOURCES,
    compile_catalogue,
    find_catalogue,
    get_ids,
    get_key,
    get_strings,
    list_messages,
    list_untranslated,
    read_catalogue,
    read_messages,
    read_source,
    update,
)

PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[a-z%]|\{\w*\}|<[^>]+>")
DJANGO = Path(django.__file__).parent

every_catalogue = pytest.mark.parametrize(
    ("name", "language"), [(name, language) for name in SOURCES for language in LANGUAGES]
)


@pytest.fixture
def catalogue(name: str, language: str) -> Catalog:
    return read_catalogue(find_catalogue(name, language), language)


@every_catalogue
def test_no_message_is_missing_obsolete_or_untranslated(name: str, catalogue: Catalog) -> None:
    wanted = {get_key(message): message.id for message in list_messages(read_source(name))}
    assert {get_key(message): message.id for message in list_messages(catalogue)} == wanted
    assert list_untranslated(catalogue) == []
    assert not catalogue.obsolete


@every_catalogue
def test_translations_keep_placeholders_and_markup(catalogue: Catalog) -> None:
    for message in list_messages(catalogue):
        wanted = [sorted(PLACEHOLDER.findall(text)) for text in get_ids(message)]
        for text in get_strings(message):
            assert sorted(PLACEHOLDER.findall(text)) in wanted, message.id
            assert text[0].isspace() == get_ids(message)[0][0].isspace(), message.id
        assert not list(message.check(catalogue)), message.id


@every_catalogue
def test_plural_forms_are_those_of_the_language(language: str, catalogue: Catalog) -> None:
    header = dict(catalogue.mime_headers)["Plural-Forms"]
    assert header == dict(Catalog(locale=language).mime_headers)["Plural-Forms"]
    plurals = [one for one in list_messages(catalogue) if one.pluralizable]
    assert plurals
    assert {len(get_strings(one)) for one in plurals} == {catalogue.num_plurals}


@every_catalogue
def test_compiled_catalogue_is_the_one_that_is_read(name: str, language: str) -> None:
    path = find_catalogue(name, language)
    kept, wanted = (
        {get_key(one): one.string for one in read_mo(io.BytesIO(compiled))}
        for compiled in (path.with_suffix(".mo").read_bytes(), compile_catalogue(path, language))
    )
    assert describe_header(kept.pop(("", None))) == describe_header(wanted.pop(("", None)))
    assert kept == wanted


def describe_header(text: object) -> list[str]:
    """What tells how to read a catalogue, without who wrote it with what."""
    return [line for line in str(text).splitlines() if line.startswith(("Language:", "Plural-Forms:", "Content-"))]


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_of_django_are_translated_as_django_does(language: str) -> None:
    """A message of the same text is shared by the whole site: ours must not change Django's own pages."""
    with translation.override(language):
        differing = {
            one.id: (theirs, get_strings(one))
            for one in list_messages(read_catalogue(find_catalogue("polar_sync", language), language))
            for theirs in list_translations_of_django(one, language)
            if theirs != get_strings(one)[0]
        }
    assert differing == {}


def list_translations_of_django(message: Message, language: str) -> list[str]:
    found = []
    for folder in ("conf", "contrib/admin", "contrib/auth"):
        own = gettext.translation("django", DJANGO / folder / "locale", [language])
        text = get_ids(message)[0]
        theirs = own.pgettext(message.context, text) if message.context else own.gettext(text)
        if theirs != text:
            found.append(theirs)
    return found


SOURCE = """
from django.utils.translation import gettext as _, npgettext_lazy, ngettext, pgettext, gettext_lazy
A = [
    _("a text "
      "in two parts"),
    gettext_lazy("a lazy one"),
    ngettext("%(number)s thing", "%(number)s things", 3),
    pgettext("a context", "one with it"),
    npgettext_lazy("another", "%d", "%ds", "number"),
]
"""
TEMPLATE = """{% load i18n %}
    <p title="{% translate "a 'quoted' text" %}">it's {{ _("a variable's") }}
  {% blocktranslate trimmed with one=two.three %}
    Trimmed {{ one }}
    here{% endblocktranslate %}</p>
{% blocktranslate count n=numbers|length context "plurals" %}{{ n }} a{% plural %}{{ n }} b{% endblocktranslate %}
{% trans 'old style' context "c" %}{# translators: nothing #}"""


def test_messages_of_every_kind_are_found(tmp_path: Path) -> None:
    (tmp_path / "source.py").write_text(SOURCE)
    (tmp_path / "template.html").write_text(TEMPLATE)
    assert [(message.id, message.context) for message in list_messages(read_messages([tmp_path]))] == [
        ("a 'quoted' text", None),
        ("a variable's", None),
        ("Trimmed %(one)s here", None),
        (("%(n)s a", "%(n)s b"), "plurals"),
        ("old style", "c"),
        ("a text in two parts", None),
        ("a lazy one", None),
        (("%(number)s thing", "%(number)s things"), None),
        ("one with it", "a context"),
        (("%d", "%ds"), "another"),
    ]


def test_message_with_and_without_plural_is_refused(tmp_path: Path) -> None:
    """Python before 3.13 finds such a message only where a number is given."""
    (tmp_path / "source.py").write_text('_("customer")\nngettext("customer", "customers", 2)\n')
    with pytest.raises(ValueError, match="both with and without a plural: customer"):
        read_messages([tmp_path])


def test_update_keeps_translations_drops_what_is_gone_and_tells_what_is_new(tmp_path: Path) -> None:
    source, path = tmp_path / "source.py", tmp_path / "django.po"
    source.write_text('_("kept"), _("gone")')
    assert [message.id for message in update([tmp_path], path, "de")] == ["kept", "gone"]
    path.write_text(path.read_text().replace('msgid "kept"\nmsgstr ""', 'msgid "kept"\nmsgstr "bleibt"'))
    source.write_text('_("kept"), _("new")')
    assert [message.id for message in update([tmp_path], path, "de")] == ["new"]
    assert "gone" not in path.read_text()
    before = path.read_bytes(), path.with_suffix(".mo").read_bytes()
    compiled = gettext.GNUTranslations(io.BytesIO(before[1]))
    assert (compiled.gettext("kept"), compiled.gettext("new")) == ("bleibt", "new")
    update([tmp_path], path, "de")
    assert (path.read_bytes(), path.with_suffix(".mo").read_bytes()) == before
