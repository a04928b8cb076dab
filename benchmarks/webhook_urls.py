"""The example project's paths, and one bare view: the least that Django takes for a request with a body."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from project.urls import urlpatterns as project_urlpatterns


@csrf_exempt
def take(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.body)), status=202)


urlpatterns = [path("bare/", take), *project_urlpatterns]
