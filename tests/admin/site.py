"""The example project's settings with a Content-Security-Policy that lets nothing in but files of the site's own.

The language is the browser's."""

from project.settings import *  # noqa: F403
from project.settings import MIDDLEWARE

MIDDLEWARE = [*MIDDLEWARE, "django.middleware.locale.LocaleMiddleware", "tests.admin.policy.strict_policy"]

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick, and no secret is at stake here
