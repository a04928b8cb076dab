"""What the admin's templates ask for by themselves, as Django's admin hands it to nobody."""

from __future__ import annotations

from typing import Any

from django import template
from django.contrib.admin.views.main import ChangeList
from django.template.context import RequestContext

from polar_sync.admin.change_lists import get_date_choices
from polar_sync.admin.overview import build_overview

register = template.Library()


@register.inclusion_tag("polar_sync/admin/overview.html", takes_context=True)
def polar_overview(context: RequestContext) -> dict[str, Any]:
    """The overview of the mirror."""
    request = context.request
    return {**build_overview(request, site_name=request.current_app), "csrf_token": context.get("csrf_token")}


@register.inclusion_tag("admin/date_hierarchy.html")
def polar_dates(changelist: ChangeList) -> dict[str, Any]:
    """The drill-down by date, without a scan of the table."""
    return get_date_choices(changelist)
