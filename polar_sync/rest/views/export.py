"""All customers as CSV."""

from __future__ import annotations

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from polar_sync.rest import documents
from polar_sync.rest.details import read_uuids
from polar_sync.rest.export import stream_customers
from polar_sync.rest.formats import CSVRenderer
from polar_sync.rest.lookups import filter_customers
from polar_sync.rest.views.base import PolarView


class CustomerExportView(PolarView):
    """The export."""

    renderer_classes = (CSVRenderer,)
    parameters = frozenset({"organization_id"})

    @documents.describe(
        operation_id="customers:export",
        parameters=[documents.ORGANIZATION],
        responses=documents.answer_csv(401, 403, 422),
    )
    def get(self, request: Request) -> HttpResponseBase:
        """Export customers as CSV, as Polar does; the column Tax ID holds the number alone."""
        ids = read_uuids(request.query_params.getlist("organization_id"), ("query", "organization_id"))
        customers = filter_customers(request)
        if ids:
            customers = customers.filter(organization__polar_id__in=ids)
        response = StreamingHttpResponse(stream_customers(customers), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="polar-customers.csv"'
        response["Cache-Control"] = "private, no-store"
        return response
