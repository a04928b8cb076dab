"""The example project as it is served in earnest: nothing is kept for debugging, and a bare view is beside it."""

from project.settings import *  # noqa: F403

DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "benchmarks.rest_urls"
DATABASES["default"]["NAME"] = "polar_sync_benchmark_rest"  # noqa: F405
