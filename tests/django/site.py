"""A Django site with users and sessions on SQLite; a process can have only one."""

from __future__ import annotations

import pathlib
import tempfile
from typing import Any

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.urls import clear_url_caches, set_urlconf

#: What the tests add views to.
urlpatterns: list[Any] = []

_folder = tempfile.TemporaryDirectory(prefix="backboneio-django-")
DATABASE = pathlib.Path(_folder.name) / "site.db"


def application(*views: Any) -> WSGIHandler:
    """Return the site's application, with these URL patterns and no others."""
    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=__name__,
            SECRET_KEY="for tests",
            ALLOWED_HOSTS=["*"],
            INSTALLED_APPS=[
                "django.contrib.auth",
                "django.contrib.contenttypes",
                "django.contrib.sessions",
            ],
            MIDDLEWARE=[
                "django.contrib.sessions.middleware.SessionMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware",
            ],
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE}},
            PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
            USE_TZ=True,
        )
        django.setup()
        call_command("migrate", verbosity=0)
    urlpatterns[:] = views
    clear_url_caches()
    set_urlconf(None)
    return get_wsgi_application()  # type: ignore[no-any-return]
