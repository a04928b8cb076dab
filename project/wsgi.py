"""The door for WSGI servers. Nothing but `DJANGO_DEBUG=1` makes it a development site."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
os.environ.setdefault("DJANGO_DEBUG", "0")

application = get_wsgi_application()
