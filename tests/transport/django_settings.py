"""Settings for ``django runserver`` of tests.transport.app."""

DEBUG = True
USE_TZ = True
ROOT_URLCONF = "tests.transport.django_settings"
WSGI_APPLICATION = "tests.transport.app.app"
urlpatterns: list[object] = []
