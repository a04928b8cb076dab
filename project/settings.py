"""Settings of the example project, all from the environment.

Without any variable it is a development site on SQLite. A secret key, allowed hosts, `DJANGO_DEBUG=0` or the WSGI
door (`project.wsgi`) each make it production, which does not start without a secure key.
"""

from pathlib import Path

import environ

from project.environment import (
    parse_requests_per_minute,
    parse_webhook_secrets,
    prepare_database,
    require_secure_key,
)

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
# What the site makes at run time and git does not know: the embedded broker, beat's schedule, the demo's database.
WORK_DIR = Path(env.str("POLAR_SYNC_WORK_DIR", default="") or BASE_DIR / ".demo")

SECRET_KEY = env.str("DJANGO_SECRET_KEY", default="")
ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS", default=[])
DEBUG = env.bool("DJANGO_DEBUG", default=not SECRET_KEY and not ALLOWED_HOSTS)
if not DEBUG:
    require_secure_key(SECRET_KEY)
SECRET_KEY = SECRET_KEY or "django-insecure-for-development-on-this-machine-only"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "knox",
    "polar_sync",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASE_URL = env.str("DATABASE_URL", default="") or f"sqlite:///{BASE_DIR / 'db.sqlite3'}"
DATABASES = {"default": prepare_database(env.db_url_config(DATABASE_URL))}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]

LANGUAGE_CODE = "en"
LOCALE_PATHS = [BASE_DIR / "project" / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = BASE_DIR / "static-collected"

# --- REST -------------------------------------------------------------------------------------------------------

SPECTACULAR_SETTINGS = {
    # The page that browses the API loads nothing from elsewhere.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}
REST_KNOX = {"TOKEN_TTL": None}  # a program's token lasts until somebody deletes it

# --- Celery -----------------------------------------------------------------------------------------------------

CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="") or "filesystem://localhost//"
SILENCED_SYSTEM_CHECKS: list[str] = []
HAS_EMBEDDED_BROKER = CELERY_BROKER_URL.startswith("filesystem:")
if HAS_EMBEDDED_BROKER:
    BROKER_DIR = WORK_DIR / "broker"
    (BROKER_DIR / "messages").mkdir(parents=True, exist_ok=True)
    CELERY_BROKER_TRANSPORT = "project.broker:Transport"
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(BROKER_DIR / "messages"),
        "data_folder_out": str(BROKER_DIR / "messages"),
        "control_folder": str(BROKER_DIR / "control"),
        # kombu looks for messages once a second; a webhook delivery should not wait so long.
        "polling_interval": 0.1,
    }
    # This broker serves one worker process with threads on one machine (`celery worker --pool threads`), which
    # shares the request budget in its memory.
    SILENCED_SYSTEM_CHECKS.append("polar_sync.W002")
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True
# A worker that waits for the request budget should not sit on messages that another could work on.
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TIMEZONE = TIME_ZONE

# --- Polar ------------------------------------------------------------------------------------------------------

POLAR_ACCESS_TOKEN = env.str("POLAR_ACCESS_TOKEN", default="")
# The endpoint on Polar is somebody else's receiver: what succeeded there did not come here, and no secret is needed.
FOLLOWS_ALL = env.bool("POLAR_FOLLOW_ALL", default=False)
if FOLLOWS_ALL:
    SILENCED_SYSTEM_CHECKS.append("polar_sync.W006")
POLAR_SYNC = {
    "ORGANIZATIONS": {
        "default": {
            "ACCESS_TOKEN": POLAR_ACCESS_TOKEN,
            "SERVER": env.str("POLAR_SERVER", default="") or "production",
            "REQUESTS_PER_MINUTE": parse_requests_per_minute(env.str("POLAR_REQUESTS_PER_MINUTE", default="")),
            "WEBHOOK_SECRETS": parse_webhook_secrets(env.str("POLAR_WEBHOOK_SECRET", default="")),
            "WEBHOOK_ENDPOINT_ID": env.str("POLAR_WEBHOOK_ENDPOINT_ID", default="") or None,
        },
    }
    if POLAR_ACCESS_TOKEN
    else {},
    # All processes must count in one place: the Redis that they talk through anyway.
    "THROTTLE_STORAGE": CELERY_BROKER_URL if CELERY_BROKER_URL.startswith(("redis:", "rediss:")) else "memory://",
}

CELERY_BEAT_SCHEDULE_FILENAME = str(WORK_DIR / "beat-schedule")
CELERY_BEAT_SCHEDULE = {
    "polar_sync: resume runs": {
        "task": "polar_sync.resume_runs",
        "schedule": 60.0,
        # A worker that comes back after a while should not find a message for each minute it was away.
        "options": {"expires": 60.0},
    },
    "polar_sync: follow": {
        "task": "polar_sync.follow",
        "schedule": 60.0,
        "kwargs": {"is_whole": FOLLOWS_ALL},
        "options": {"expires": 60.0},
    },
    **{
        f"polar_sync: sync {name}": {
            "task": "polar_sync.sync_organization",
            "schedule": 3600.0,
            "args": [name],
            "options": {"expires": 3600.0},
        }
        for name in POLAR_SYNC["ORGANIZATIONS"]
    },
}
