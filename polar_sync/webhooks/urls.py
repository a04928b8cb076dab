"""Where Polar delivers: `path("polar/webhooks/", include("polar_sync.webhooks.urls"))` in the project's URLs."""

from __future__ import annotations

from django.urls import path

from polar_sync.webhooks.views import receive

app_name = "polar_webhooks"

urlpatterns = [path("<str:organization>/", receive, name="receive")]
