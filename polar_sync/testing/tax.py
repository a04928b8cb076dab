"""Tax ids: given as text, answered as a pair of the cleaned text and its format."""

from __future__ import annotations

import re

EU_COUNTRIES = frozenset(
    [
        *("AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU"),
        *("IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK"),
    ]
)
FORMATS = {
    "AU": ("au_abn", r"\d{11}"),
    "BR": ("br_cnpj", r"\d{14}"),
    "CA": ("ca_gst_hst", r"\d{9}RT\d{4}"),
    "CH": ("ch_vat", r"CHE\d{9}(MWST|TVA|IVA)?"),
    "GB": ("gb_vat", r"(GB)?\d{9}(\d{3})?"),
    "IN": ("in_gst", r"\d{2}[A-Z0-9]{13}"),
    "JP": ("jp_cn", r"\d{13}"),
    "NO": ("no_vat", r"\d{9}(MVA)?"),
    "US": ("us_ein", r"\d{9}"),
}


def read_tax_id(text: str, *, country: str) -> list[str] | None:
    """`[value, format]` for a tax id of `country` (ISO 3166-1 alpha-2), None where it is none of that country.

    The form is checked, the check digits are not.
    """
    value = re.sub(r"[\s.\-/]", "", text).upper()
    if country in EU_COUNTRIES:
        prefix = "EL" if country == "GR" else country
        number = value.removeprefix(prefix)
        return [f"{prefix}{number}", "eu_vat"] if re.fullmatch(r"[A-Z0-9]{2,12}", number) else None
    name, pattern = FORMATS.get(country, (None, ""))
    return [value, name] if name is not None and re.fullmatch(pattern, value) else None
