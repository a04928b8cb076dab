"""The pages of the example project."""

from django.contrib import admin
from django.urls import include, path

from project.home import home

urlpatterns = [
    path("", home, name="home"),
    path("admin/", admin.site.urls),
    path("polar/webhooks/", include("polar_sync.webhooks.urls")),
    path("polar/", include("polar_sync.rest.urls")),
]
