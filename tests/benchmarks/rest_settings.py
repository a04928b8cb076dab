"""The example project as it is served in earnest: connections are kept, nothing is kept for debugging."""

from project.settings import *  # noqa: F403

DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
DATABASES["default"]["CONN_MAX_AGE"] = None  # noqa: F405
DATABASES["default"]["NAME"] = "polar_sync_benchmark_rest"  # noqa: F405
