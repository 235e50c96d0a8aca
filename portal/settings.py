"""All settings of Nodefolk, in one file.

Without any environment variable this is the embedded default: SQLite, a broker made
of files, blobs in a folder. Production sets the variables listed in docs/settings.md;
`manage.py check --deploy` refuses the embedded parts when NODEFOLK_DEBUG is off.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

import dj_database_url
from csp.constants import NONE, SELF

from portal import env

# ONNX Runtime reports usage figures to its maker unless told not to before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

BASE_DIR = Path(__file__).resolve().parent.parent

# Where the embedded default keeps everything it writes.
DATA_DIR = Path(env.text("NODEFOLK_DATA", str(BASE_DIR / "var"))).resolve()
DATA_DIR.mkdir(parents=True, exist_ok=True)

# Tried out or developed on one machine, over plain HTTP: off in production.
IS_TRIAL = env.flag("NODEFOLK_DEBUG", default=True)
# Django's own: pages with source and settings on errors, and every query kept in memory.
DEBUG = IS_TRIAL and env.flag("NODEFOLK_TRACEBACKS", default=False)


def _embedded_secret() -> str:
    """Make the embedded default's secret once and keep it beside its database."""
    path = DATA_DIR / "secret_key"
    try:
        with path.open("x", encoding="ascii") as file:
            path.chmod(0o600)
            file.write(secrets.token_urlsafe(50))
    except FileExistsError:
        pass
    return path.read_text(encoding="ascii")


SECRET_KEY = env.text("NODEFOLK_SECRET_KEY", "")
IS_SECRET_EMBEDDED = not SECRET_KEY
SECRET_KEY = SECRET_KEY or _embedded_secret()

# The address under which clients and nodes reach the portal; signed URLs begin with it.
PUBLIC_URL = env.text("NODEFOLK_PUBLIC_URL", "http://127.0.0.1:8000").rstrip("/")
ALLOWED_HOSTS = env.words(
    "NODEFOLK_ALLOWED_HOSTS",
    [urlsplit(PUBLIC_URL).hostname or "127.0.0.1", "127.0.0.1", "localhost", "testserver"],
)
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "csp",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "payments",
    "tasks",
    "portal",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "portal.shortcuts.SignedBlobMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "portal.urls"
WSGI_APPLICATION = "portal.wsgi.application"

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
                "portal.web.context.frame",
            ],
        },
    },
]

# --- database ---------------------------------------------------------------------------
_DATABASE_URL = env.text("DATABASE_URL", f"sqlite:///{DATA_DIR}/nodefolk.sqlite3")
DATABASES = {"default": dj_database_url.parse(_DATABASE_URL, conn_max_age=60)}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # WAL and IMMEDIATE: several processes write without "database is locked".
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
    }
    DATABASES["default"]["CONN_MAX_AGE"] = 0
    # Tests on a file, not in memory: threads then meet real locks.
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
else:
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    # PostgreSQL's own default is for spinning disks: there, a batch of 200 rows by key would
    # be planned as a scan of tens of thousands. And a short statement gains nothing from JIT.
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault(
        "options", "-c random_page_cost=1.1 -c jit=off"
    )
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

# --- broker -----------------------------------------------------------------------------
# filebroker:///folder (embedded) or amqp://user:password@host:port/vhost
BROKER_URL = env.text("BROKER_URL", f"filebroker://{DATA_DIR}/broker")
# RabbitMQ's management API with an administrator's login; makes queues and node users.
BROKER_MANAGEMENT_URL = env.text("BROKER_MANAGEMENT_URL", "")
# What nodes are told, without login; differs from BROKER_URL behind TLS or a proxy.
BROKER_NODE_URL = env.text("BROKER_NODE_URL", "")

# The login of ingest, which may read what nodes wrote and nothing else; with none set, ingest
# uses BROKER_URL, whose user may then read those queues too.
BROKER_INGEST_URL = env.text("BROKER_INGEST_URL", "")
# host:port where `manage.py authority` answers RabbitMQ's questions about nodes. Without it the
# nodes' rights are written into RabbitMQ instead, for a broker that cannot ask.
BROKER_AUTHORITY = env.text("BROKER_AUTHORITY", "")
# Addresses or networks that may ask: the broker's own.
BROKER_AUTHORITY_CALLERS = env.words("BROKER_AUTHORITY_CALLERS", ["127.0.0.1", "::1"])

# Balancers and gateways of our own before portal and broker that hide who speaks: a node seen at
# one of these addresses or networks is in no network.
OWN_NETWORKS = env.words("NODEFOLK_OWN_NETWORKS", [])

# Messages a second that one node may send for long (16 KiB of body count as one more); RabbitMQ
# has no such limit. A node that sends more for longer than a burst is suspended.
NODE_RATE = env.integer("NODEFOLK_NODE_RATE", 200)
NODE_BURST = env.integer("NODEFOLK_NODE_BURST", 1500)

# How long a node may be silent before its work goes to another, seconds. Nodes send a sign
# of life every 15 s while they work, so less than that is for tests only.
LEASE_SECONDS = env.integer("NODEFOLK_LEASE_SECONDS", 45)

# Most pictures in one chunk: 15 is what a message holds, fewer bring results sooner.
CHUNK_IMAGES_MAX = env.integer("NODEFOLK_CHUNK_IMAGES_MAX", 15)

# Jobs of at least so many chunks are tried on one chunk first.
SMOKE_CHUNKS_MIN = env.integer("NODEFOLK_SMOKE_CHUNKS_MIN", 20)

# Pictures the platform's referee may compute in an hour: disputes, smoke tests, gold.
REFEREE_IMAGES_PER_HOUR = env.integer("NODEFOLK_REFEREE_IMAGES_PER_HOUR", 2000)

# Unused gold pictures to have ready for each model; 0: no more are made.
GOLD_STOCK = env.integer("NODEFOLK_GOLD_STOCK", 40)

# The platform's Ed25519 key that signs assignments; made on first use when absent.
PLATFORM_KEY_PATH = Path(env.text("NODEFOLK_PLATFORM_KEY", str(DATA_DIR / "platform.key")))

# --- files ------------------------------------------------------------------------------
MEDIA_ROOT = DATA_DIR / "blobs"
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
# Hashed names need `collectstatic`, which the embedded default does without.
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if IS_TRIAL
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = IS_TRIAL
WHITENOISE_AUTOREFRESH = IS_TRIAL

# Bodies above this are spooled to disk; the number of files in one request is bounded.
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FILES = 1000
FILE_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024

# --- users ------------------------------------------------------------------------------
AUTH_USER_MODEL = "portal.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "overview"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "optional"
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
EMAIL_BACKEND = env.text("NODEFOLK_EMAIL_BACKEND", "django.core.mail.backends.console.EmailBackend")
DEFAULT_FROM_EMAIL = env.text("NODEFOLK_EMAIL_FROM", "Nodefolk <no-reply@localhost>")

# --- HTTP safety ------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:", "blob:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "manifest-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
if not IS_TRIAL:
    SECURE_SSL_REDIRECT = env.flag("NODEFOLK_SSL_REDIRECT", default=True)
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 60 * 60 * 24 * 365
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

# --- API --------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "portal.api.authentication.KeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "portal.api.schema.ProblemAutoSchema",
    "EXCEPTION_HANDLER": "portal.api.problems.handle",
    "DEFAULT_THROTTLE_RATES": {
        "user": env.text("NODEFOLK_RATE_USER", "6000/min"),
        "anonymous": env.text("NODEFOLK_RATE_ANONYMOUS", "120/min"),
    },
    "URL_FORMAT_OVERRIDE": None,
    # Proxies of our own in front: with none, X-Forwarded-For is anyone's word and is ignored.
    "NUM_PROXIES": env.integer("NODEFOLK_PROXIES", 0),
}
# What a monitoring system shows to read `GET /api/v1/metrics`; without it only staff may.
METRICS_TOKEN = env.text("NODEFOLK_METRICS_TOKEN", "")
SPECTACULAR_SETTINGS = {
    "TITLE": "Nodefolk",
    "VERSION": "1",
    "DESCRIPTION": "Checked, paid computing and labeling on volunteer machines.",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    # The fields that a PATCH must have are those its form says.
    "COMPONENT_SPLIT_PATCH": False,
    # Enumerations stay where they are used instead of becoming components with made-up names.
    "POSTPROCESSING_HOOKS": [],
}

# --- language and time ------------------------------------------------------------------
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    # A line for each request we make says nothing that the caller does not.
    "loggers": {"httpx": {"level": "WARNING"}},
    "root": {"handlers": ["console"], "level": env.text("NODEFOLK_LOG_LEVEL", "INFO")},
}
