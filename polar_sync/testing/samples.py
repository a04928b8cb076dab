"""Values that generated customers are made of: names in many scripts, addresses, tax ids, metadata, units."""

from __future__ import annotations

from typing import Any

# `{n}` is the customer's number; names without it repeat, so that sorting by name has ties.
NAMES: tuple[str | None, ...] = (
    None,
    "Grace Hopper {n}",
    "Søren Ærøskøbing {n}",
    "Ñandú Peña",
    "王小明 {n}",
    "佐藤 花子",
    "김민준 {n}",
    "ليلى حسن {n}",
    "שרה לוי",
    "प्रिया शर्मा {n}",
    "ณัฐพล ใจดี {n}",
    "Ольга Иванова {n}",
    "Ελένη Παπαδοπούλου",
    "Dương Thị Hoa {n}",
    "Zażółć Gęślą Jaźń",
    "Äpfel & Bäume GmbH",
    "🧑\u200d🔬 Lab Person",
    "Re\u0301ne\u0301 Decomposed",
    '<i>Robert</i> "Quotes"; -- {n}',
    "  spaces around {n} ",
    "Tab\tand 'quote' {n}",
    "n" * 256,
)
ADDRESSES: tuple[dict[str, str | None] | None, ...] = (
    None,
    None,
    {"country": "FR"},
    {"line1": "3 rue de l'Épée", "postal_code": "69001", "city": "Lyon", "country": "FR"},
    {"line1": "Straße des 17. Juni 1", "postal_code": "10557", "city": "Berlin", "country": "DE"},
    {
        "line1": "500 Market St",
        "line2": "Suite 9",
        "postal_code": "97204",
        "city": "Portland",
        "state": "US-OR",
        "country": "US",
    },
    {"postal_code": "H2X 1Y4", "state": "CA-QC", "country": "CA"},
    {"line1": "丸の内2-4-1", "postal_code": "100-6390", "city": "東京", "country": "JP"},
)
TAX_IDS: tuple[list[str] | None, ...] = (
    None,
    None,
    ["FR40303265045", "eu_vat"],
    ["DE136695976", "eu_vat"],
    ["123456789RT0002", "ca_gst_hst"],
    ["123456789", "us_ein"],
    ["CHE123456788MWST", "ch_vat"],
)
LOCALES = (None, "en", "en-GB", "fr", "de", "pt-BR", "ja")
METADATA: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"plan": "pro"},
    {"plan": "free", "seats": 3},
    {"user_id": 4711, "ratio": 0.5, "is_vip": True},
    {"note": "ünïcödé ✓ 漢字", "is_blocked": False, "debt": -12, "tiny": 1e-07},
    {"k" * 40: "v" * 500},
    {f"key {index}": index for index in range(50)},
)
DOMAINS = ("example.com", "mail.example.org", "sub.domain.example.net", "xn--bcher-kva.example")
EXTERNAL_IDS: tuple[str | None, ...] = (
    None,
    "usr_{n}",
    "usr_{n}",
    "{n}",
    "auth0|{n:06}",
    "CaseMatters{n}",
    "user {n} é?x=1&y#z%25",
    "org/team/{n}",
)
CONSUMED = (0.0, 0.1, 0.1 + 0.2, 12.5, 100 / 3, 24.691357802468, 1_234_567.891011, 1e8)
CREDITED = (0, 0, 100, 1_000, 10_000_000)
CUSTOM_FIELDS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"company_size": "11-50", "newsletter": True},
    {"vat_exempt": False, "employees": 12, "since": "2024-05-01T00:00:00Z", "note": None},
)
