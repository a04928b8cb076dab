"""What stands below a number: the noun of what is counted, in the number."""

from __future__ import annotations

from django.utils.translation import npgettext


def name_customers(number: int) -> str:
    """Living ones."""
    return npgettext("below a number", "customer", "customers", number)


def name_active_subscriptions(number: int) -> str:
    """Without trialing ones."""
    return npgettext("below a number", "active subscription", "active subscriptions", number)


def name_trialing_subscriptions(number: int) -> str:
    """Those that pay nothing yet."""
    return npgettext("below a number", "trialing subscription", "trialing subscriptions", number)


def name_granted_benefits(number: int) -> str:
    """Of all customers."""
    return npgettext("below a number", "granted benefit", "granted benefits", number)


def name_meters_below_zero(number: int) -> str:
    """Customers' meters, not definitions."""
    return npgettext("below a number", "meter below zero", "meters below zero", number)
