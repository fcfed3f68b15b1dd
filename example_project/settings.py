"""Settings of the example project.

The environment chooses what differs from machine to machine:

    EXAMPLE_VAR             where everything goes that the example writes (`var`, beside this file)
    EXAMPLE_DATABASE        sqlite (default), postgresql or mariadb
    EXAMPLE_DATABASE_NAME   the database on that server (marginalia), which has to exist
    POSTGRES_HOST, _PORT, _USER, _PASSWORD; MARIADB_HOST, ...
                            where the server is, and who asks
    EXAMPLE_PARTNERS_URL    where the shop's business partners answer; `demo` and `serve` set it
"""

import os
from pathlib import Path
from typing import Any

import django

HERE = Path(__file__).resolve().parent
VAR = Path(os.environ.get("EXAMPLE_VAR", HERE / "var")).resolve()
VAR.mkdir(parents=True, exist_ok=True)

DEBUG = True
SECRET_KEY = "the example is for your own machine only"
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "operator_app",
    "example_project.shop",
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

ROOT_URLCONF = "example_project.urls"

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

STATIC_URL = "static/"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def on_server(engine: str, prefix: str, port: str, user: str, **options: Any) -> dict[str, Any]:
    """Return the entry of `DATABASES` for a server that variables with this prefix describe."""
    return {
        "ENGINE": f"django.db.backends.{engine}",
        "NAME": os.environ.get("EXAMPLE_DATABASE_NAME", "marginalia"),
        "HOST": os.environ.get(f"{prefix}_HOST", "127.0.0.1"),
        "PORT": os.environ.get(f"{prefix}_PORT", port),
        "USER": os.environ.get(f"{prefix}_USER", user),
        "PASSWORD": os.environ.get(f"{prefix}_PASSWORD", ""),
        "OPTIONS": options,
    }


# SQLite serves operators well if a transaction that will write says so at its start (IMMEDIATE),
# waits for its turn (timeout), and readers are not in its way (WAL).
SQLITE = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": VAR / "demo.sqlite3",
    "OPTIONS": {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    },
}

MYSQL_OPTIONS = {"charset": "utf8mb4", "isolation_level": "read committed"}

match os.environ.get("EXAMPLE_DATABASE", "sqlite"):
    case "sqlite":
        DATABASES = {"default": SQLITE}
    case "postgresql":
        DATABASES = {"default": on_server("postgresql", "POSTGRES", "5432", "postgres")}
    case "mariadb":
        DATABASES = {"default": on_server("mysql", "MARIADB", "3306", "root", **MYSQL_OPTIONS)}
    case other:
        raise ValueError(f"EXAMPLE_DATABASE={other!r}: choose sqlite, postgresql or mariadb.")

# Every mail the shop sends ends in a file of this directory.
MAIL_DIRECTORY = VAR / "mail"
MAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
DEFAULT_FROM_EMAIL = "Marginalia <shop@marginalia.example>"
SHOPKEEPER = "shopkeeper@marginalia.example"
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": MAIL_BACKEND, "OPTIONS": {"file_path": MAIL_DIRECTORY}}}
else:
    EMAIL_BACKEND = MAIL_BACKEND
    EMAIL_FILE_PATH = MAIL_DIRECTORY

PARTNERS_URL = os.environ.get("EXAMPLE_PARTNERS_URL", "http://127.0.0.1:8765")

# What every kind of operation starts from; a kind's own `policy` overrides it option by option.
OPERATOR = {
    "POLICY": {"max_attempts": 3, "backoff": [1, 5, 30], "stop_delay": 60},
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "format": "{asctime} {levelname:<7} {message}",
            "style": "{",
            "datefmt": "%H:%M:%S",
        },
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "operator_app": {"handlers": ["console"], "level": "INFO", "propagate": False},
    },
}
