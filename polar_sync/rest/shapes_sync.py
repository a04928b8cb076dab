"""Shapes of runs and of the state of affairs, for the API's description."""

from __future__ import annotations

from rest_framework import serializers as s

from polar_sync.rest.shapes import Pagination, Shape


class RunFailure(Shape):
    """A customer that a run could not mirror."""

    customer_id = s.CharField()
    reason = s.CharField()


class LastRun(Shape):
    """How a run ended."""

    id = s.IntegerField()
    status = s.CharField()
    reason = s.CharField()
    finished_at = s.DateTimeField(allow_null=True)
    failed = s.IntegerField()


class Run(Shape):
    """A run: each customer counts once, `listed` is the sum of the six outcomes."""

    id = s.IntegerField()
    organization = s.CharField()
    status = s.CharField()
    reason = s.CharField()
    detail = s.CharField()
    started_at = s.DateTimeField(allow_null=True)
    heartbeat_at = s.DateTimeField(allow_null=True)
    finished_at = s.DateTimeField(allow_null=True)
    listed = s.IntegerField()
    created = s.IntegerField()
    updated = s.IntegerField()
    unchanged = s.IntegerField()
    stale = s.IntegerField()
    deleted = s.IntegerField()
    failed = s.IntegerField()
    requests = s.IntegerField()
    throttled_seconds = s.FloatField()
    failures = RunFailure(many=True, required=False)


class RunList(Shape):
    """A page of runs."""

    items = Run(many=True)
    pagination = Pagination()


class RunStart(Shape):
    """`organization` may be left out where there is only one."""

    organization = s.CharField(required=False)
    is_mass_deletion_allowed = s.BooleanField(required=False)


class Status(Shape):
    """How one organization's mirror is doing."""

    organization = s.CharField()
    organization_id = s.UUIDField(allow_null=True)
    last_succeeded_at = s.DateTimeField(allow_null=True)
    age_seconds = s.FloatField(allow_null=True)
    customers = s.IntegerField()
    stale_customers = s.IntegerField()
    failed_customers = s.IntegerField()
    last_run = LastRun(allow_null=True)


class StatusList(Shape):
    """All organizations."""

    items = Status(many=True)
