"""Django's settings for the tests, and for the operator processes that tests start."""

from __future__ import annotations

import json
import os

import django

from tests.databases import databases

SECRET_KEY = "only for tests"
DEBUG = False
ALLOWED_HOSTS = ["testserver", "127.0.0.1", "localhost"]

# `tests.run` names one; a plain `pytest`, or a tool that only wants settings, gets SQLite.
DATABASES = databases(os.environ.get("OPERATOR_TEST_DATABASE") or "sqlite")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "operator_app",
    "tests.kinds",
    "tests.work",
    "tests.chaos.work",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
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

# What a test wants of the operator processes that it starts.
OPERATOR = json.loads(os.environ.get("OPERATOR_TEST_SETTINGS") or "{}")

ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"

USE_TZ = os.environ.get("OPERATOR_TEST_USE_TZ", "1") not in {"0", "false", "no"}
TIME_ZONE = "Europe/Berlin"  # neither UTC nor free of daylight saving: mix-ups of zones show

# Also for the operator processes, where no test runner replaces it.
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
else:
    EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
# Users are made in many tests; a fast hash keeps that cheap.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
