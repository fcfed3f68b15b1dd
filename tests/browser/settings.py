"""The example project, on the databases of the tests, under a strict content security policy."""

import os

from example_project.settings import *  # noqa: F403
from example_project.settings import MIDDLEWARE as THEIRS
from tests.databases import databases

DEBUG = False  # or Django would remember every query of a million rows
ALLOWED_HOSTS = ["testserver", "127.0.0.1", "localhost"]
MIDDLEWARE = ["tests.browser.csp.middleware", *THEIRS]
DATABASES = databases(os.environ.get("OPERATOR_TEST_DATABASE") or "sqlite")
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
