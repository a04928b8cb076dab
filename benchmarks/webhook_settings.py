"""The example project as it is served in earnest, with a bare view beside the receiver."""

from benchmarks.rest_settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.webhook_urls"
DATABASES["default"]["NAME"] = "polar_sync_benchmark_webhooks"  # noqa: F405
