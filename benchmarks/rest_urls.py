"""The example project's paths, and one bare view: the least that Django with one query takes."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.urls import path

from polar_sync.models import Customer
from project.urls import urlpatterns as project_urlpatterns


def get_customer(request: HttpRequest, pk: UUID) -> HttpResponse:
    return HttpResponse(Customer.objects.get(pk=pk).payload, content_type="application/json")


urlpatterns = [path("bare/<uuid:pk>", get_customer), *project_urlpatterns]
