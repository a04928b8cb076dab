"""Amounts as people read them."""

from __future__ import annotations

from django.utils.formats import number_format

from polar_sync.admin.text import clean

# https://docs.stripe.com/currencies: amounts in the smallest unit, which of these is the unit itself or its thousandth.
_NO_DECIMALS = frozenset(
    "bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf".split()  # noqa: SIM905 - easier to read
)
_THREE_DECIMALS = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})


def format_money(amount: float | None, currency: str | None) -> str:
    """An amount in the currency's smallest unit as `1,234.50 USD`; a dash for none."""
    if amount is None:
        return "–"
    code = (currency or "").lower()
    decimals = 0 if code in _NO_DECIMALS else 3 if code in _THREE_DECIMALS else 2
    if isinstance(amount, int):
        whole, rest = divmod(abs(amount), 10**decimals)
        text = f"{'-' if amount < 0 else ''}{whole}" + (f".{rest:0{decimals}d}" if decimals else "")
    else:
        text = f"{amount / 10**decimals:.{decimals}f}"
    number = number_format(text, decimal_pos=decimals, force_grouping=True)
    return f"{number} {clean(code.upper(), length=12)}".strip()
