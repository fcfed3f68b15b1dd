"""The documentation does what it says, and leaves nothing out.

Pages are programs here. A fenced block of Python with a caption is a file, or is added to one
("settings.py (add)"); other Python blocks of a page are the models of its app, `work`; `pycon`
blocks are sessions, run as doctests; `console` blocks of the tutorial are typed in. A page that
starts an operator has one beside its sessions. All of that happens in a scratch project of its own,
in processes of its own.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import os
import pkgutil
import re
import signal
import subprocess
import sys
from argparse import SUPPRESS
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import ModuleType

import pytest
from django.core.checks import registry
from django.core.management import load_command_class
from django.dispatch import Signal

import operator_app
from operator_app import Backoff, CircuitBreaker, Policy, conf, signals
from operator_app import models as operator_models
from operator_app.models import Operation, OperationJob, OperationQuerySet
from operator_app.policy import BUILT_IN
from tests.databases import ROOT
from tests.once import once
from tests.processes import poll

pytestmark = once

DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = sorted(DOCS.rglob("*.md"))

_FENCE = re.compile(
    r"^(?:<!-- file: (?P<comment>[^>]+?) -->\n)?"
    r"(?:<!-- from Python (?P<since>[\d.]+) -->\n)?"
    r"^```(?:\{code-block\} )?(?P<language>[\w-]+)\n"
    r"(?P<options>(?::\w+:[^\n]*\n)*)\n?"
    r"(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    caption: str
    text: str
    line: int

    @property
    def file(self) -> str:
        return self.caption.removesuffix(" (add)")


def blocks(page: Path) -> list[Block]:
    source = page.read_text()
    found = []
    for match in _FENCE.finditer(source):
        if sys.version_info < tuple(map(int, (match["since"] or "3").split("."))):
            continue
        caption = re.search(r"^:caption: *(.*)$", match["options"], re.MULTILINE)
        found.append(
            Block(
                match["language"],
                match["comment"] or (caption[1] if caption else ""),
                match["text"],
                source[: match.start()].count("\n") + 1,
            )
        )
    return found


class Project:
    """A project that a reader would make."""

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        self.folder = folder
        self.python = python
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DJANGO_", "OPERATOR_", "PYTEST_"))
        } | {
            "DJANGO_SUPERUSER_PASSWORD": "secret",
            "PYTHONPATH": str(ROOT) if python == sys.executable else "",
        }

    def run(self, *command: str, stdin: str = "") -> str:
        """Run a command that is to succeed; return what it wrote."""
        words = [self.python, *command[1:]] if command[0] == "python" else list(command)
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    @contextmanager
    def operator(self) -> Iterator[Callable[[], str]]:
        """Have an operator run while the block does, and end it with Ctrl-C; yields its log."""
        log = self.folder / "operator.log"
        with log.open("wb") as file:
            operator = subprocess.Popen(
                [self.python, "manage.py", "operator"],
                cwd=self.folder,
                env=self.environment,
                stdout=file,
                stderr=file,
            )
        try:
            yield log.read_text
            assert operator.poll() is None, log.read_text()
            operator.send_signal(signal.SIGINT)
            assert operator.wait(30) == 0, log.read_text()
            assert "Operator left." in log.read_text()
        finally:
            operator.kill()
            operator.wait()

    def run_operator(self, until: str) -> None:
        """Run an operator until its log has this word."""
        with self.operator() as log:
            poll(lambda: until in log(), 30, log)

    def write(self, block: Block) -> None:
        """Write a block into its file, or add it."""
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and (block.caption != block.file or path.name == "settings.py"):
            path.write_text(f"{path.read_text()}\n\n{block.text}")
        else:
            path.write_text(block.text)

    def session(self, text: str, settings_module: str, names: str = "") -> None:
        """Run an interactive session as a doctest."""
        (self.folder / "session.txt").write_text(text)
        (self.folder / "session.py").write_text(
            SESSION.format(settings=settings_module, names=names or "pass")
        )
        self.run("python", "session.py")


SESSION = """
import doctest, os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{settings}")
import django
django.setup()
names = {{}}
exec({names!r}, names)
flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
failed, tried = doctest.testfile(
    "session.txt", module_relative=False, globs=names, optionflags=flags, encoding="utf-8"
)
sys.exit(failed > 0)
"""


# The README and the tutorial, followed step by step


def test_the_readme_works(tmp_path: Path) -> None:
    given = {block.file: block for block in blocks(README) if block.caption}
    project = Project(tmp_path)
    project.run("python", "-m", "django", "startproject", "mysite", ".")
    project.run("python", "manage.py", "startapp", "greetings")
    theirs = tmp_path / "mysite" / "settings.py"
    ours = "".join(block.text for block in blocks(README) if block.file == "settings.py")
    installed = 'INSTALLED_APPS += ["greetings"]'
    theirs.write_text("\n".join([theirs.read_text(), installed, SILENT_MAIL, ours]))
    for name in ("models.py", "admin.py", "tests.py"):
        (tmp_path / "greetings" / name).write_text(given[name].text)
    project.run("python", "manage.py", "makemigrations")
    project.run("python", "manage.py", "migrate")
    project.run("python", "manage.py", "check", "--fail-level", "WARNING")
    assert "OK" in project.run("python", "manage.py", "test")
    (tmp_path / "schedule.py").write_text(
        "import os, django\n"
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'mysite.settings'\n"
        "django.setup()\n"
        "from django.contrib.auth.models import User\n"
        "from greetings.models import Greet\n"
        "user = User.objects.create_user('ada', 'ada@example.com')\n" + given["schedule.py"].text
    )
    project.run("python", "schedule.py")
    assert "1 run." in project.run("python", "manage.py", "operator", "--once")
    assert "Nothing is due." in project.run("python", "manage.py", "operator", "--once")


SILENT_MAIL = """
import django
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
else:
    EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
"""


def test_the_first_operation_takes_15_lines() -> None:
    [model] = [block for block in blocks(README) if block.file == "models.py"]
    assert len([line for line in model.text.splitlines() if line.strip()]) <= 15


def follow_tutorial(folder: Path, python: str = sys.executable) -> list[str]:
    """Do what the tutorial says; return the commands that were run."""
    project, typed = Project(folder, python), []
    for block in blocks(DOCS / "tutorial.md"):
        if block.language == "console":
            for line in block.text.splitlines():
                if line.startswith("cd "):
                    project.folder /= line[3:]
                elif not line.startswith(("python -m venv", ".", "python -m pip")):
                    typed.append(line)
                    if line.endswith(" operator"):
                        project.run_operator(until="finished")
                    elif not line.endswith((" shell", " runserver")):
                        project.run(*_words(line))
        elif block.language == "pycon":
            project.session(block.text, "mysite.settings")
        elif block.language == "python" and block.caption:
            project.write(block)
    return typed


def _words(line: str) -> list[str]:
    words = line.split()
    return [*words, "--noinput"] if "createsuperuser" in words else words


def test_the_tutorial_works(tmp_path: Path) -> None:
    typed = follow_tutorial(tmp_path)
    assert "python manage.py operator" in typed


# The examples of all other pages

ASSUMED = DOCS / "how-to" / "index.md"
STARTS_OPERATOR = "python manage.py operator\n"
WITH_EXAMPLES = [
    page
    for page in PAGES
    if page.name != "tutorial.md"
    and any(block.language in ("python", "pycon") for block in blocks(page))
]
SETTINGS = (
    """
SECRET_KEY = "docs"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "urls"
INSTALLED_APPS = [
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
    "django.contrib.sessions", "django.contrib.messages", "operator_app", "work",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
DATABASES["default"]["OPTIONS"] = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}
"""
    + SILENT_MAIL
)
MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from django.core.management import execute_from_command_line
if __name__ == "__main__":
    execute_from_command_line(sys.argv)
"""
PREPARE = """
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
import django
from django.core.management import call_command
django.setup()
call_command("makemigrations", "work")
call_command("migrate")
call_command("check", databases=["default"], fail_level="WARNING")
"""
"""What a reader types as three commands, by one interpreter."""


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_work(page: Path, tmp_path: Path) -> None:
    here = blocks(page)
    for block in here:
        if block.language == "python":
            ast.parse(block.text, f"{page}:{block.line}")
    work = tmp_path / "work"
    work.mkdir()
    (work / "__init__.py").touch()
    (tmp_path / "manage.py").write_text(MANAGE)
    (tmp_path / "urls.py").write_text(
        "from django.contrib import admin\nfrom django.urls import path\n"
        'urlpatterns = [path("admin/", admin.site.urls)]\n'
    )
    (tmp_path / "settings.py").write_text(SETTINGS)
    parts = [b.text for b in blocks(ASSUMED) if b.language == "python" and not b.caption]
    if page != ASSUMED:
        parts += [b.text for b in here if b.language == "python" and not b.caption]
    (work / "models.py").write_text("\n\n".join(parts))
    project = Project(tmp_path)
    for block in here:
        if block.language == "python" and block.caption and "migrations" not in block.file:
            at = "" if block.file in {"settings.py", "urls.py"} else "work/"
            project.write(Block("python", at + block.caption, block.text, block.line))
    (tmp_path / "prepare.py").write_text(PREPARE)
    project.run("python", "prepare.py")
    if (work / "tests.py").exists():
        assert "OK" in project.run("python", "manage.py", "test", "work")
    sessions = "\n".join(block.text for block in here if block.language == "pycon")
    if sessions:
        starts_one = any(b.language == "console" and b.text == STARTS_OPERATOR for b in here)
        with project.operator() if starts_one else nullcontext():
            project.session(sessions, "settings", names="from work.models import *")


# Nothing is left out


def public_modules() -> Iterator[ModuleType]:
    yield operator_app
    for info in pkgutil.walk_packages(operator_app.__path__, "operator_app."):
        if ".migrations" not in info.name:
            yield importlib.import_module(info.name)


def public_names() -> Iterator[tuple[str, object]]:
    """Every public class, function, method and property that the package defines."""
    for module in public_modules():
        yield module.__name__, module
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isclass(value):
                yield f"{module.__name__}.{name}", value
                yield from _public_members(f"{module.__name__}.{name}", value)
            elif inspect.isfunction(value):
                yield f"{module.__name__}.{name}", value


def _public_members(path: str, owner: type) -> Iterator[tuple[str, object]]:
    for name, value in vars(owner).items():
        if name.startswith("_"):
            continue
        plain = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        # What Django or a helper has put there is somebody else's to explain.
        if inspect.isfunction(plain) and plain.__qualname__ == f"{owner.__qualname__}.{name}":
            yield f"{path}.{name}", value


PACKAGES_WITHOUT_A_NOUN = {"operator_app.management", "operator_app.management.commands"}


def test_every_public_name_has_a_docstring() -> None:
    silent = [
        path
        for path, value in public_names()
        if not (inspect.getdoc(value) or "").strip() and path not in PACKAGES_WITHOUT_A_NOUN
    ]
    assert not silent, silent


def test_the_docstrings_work() -> None:
    tried = 0
    for module in public_modules():
        result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
        assert not result.failed, module.__name__
        tried += result.attempted
    assert tried


def text(*path: str) -> str:
    return DOCS.joinpath("reference", *path).read_text()


def code(page: str) -> set[str]:
    """Everything that a page says in backticks."""
    return set(re.findall(r"`([^`\n]+)`", page))


def row(page: str, name: str) -> str:
    """The row of a table that begins with `name`, or nothing."""
    found = re.search(rf"^\| `{re.escape(name)}` *\|(.*)$", page, re.MULTILINE)
    return found[1] if found else ""


@pytest.mark.parametrize("field", fields(Policy), ids=lambda field: field.name)
def test_the_reference_names_every_option_of_a_policy(field) -> None:
    line = row(text("policy.md"), field.name)
    assert line, f"reference/policy.md has no row for {field.name}"
    default = getattr(BUILT_IN, field.name)
    if not isinstance(default, (Backoff, tuple)):
        assert f"`{default!r}`" in line.replace("'", '"').replace('"', "'"), (field.name, default)


@pytest.mark.parametrize("field", fields(Backoff), ids=lambda field: field.name)
def test_the_reference_names_every_part_of_a_backoff(field) -> None:
    assert row(text("policy.md"), field.name)


@pytest.mark.parametrize("field", fields(CircuitBreaker), ids=lambda field: field.name)
def test_the_reference_names_every_part_of_a_circuit_breaker(field) -> None:
    line, default = row(text("policy.md"), field.name), field.default
    (error,) = default if isinstance(default, tuple) else (None,)
    assert (f"`{error.__name__}`" if error else f" {default:g} ") in line


def test_the_reference_names_every_signal() -> None:
    page = text("signals.md")
    names = [name for name, value in vars(signals).items() if isinstance(value, Signal)]
    assert names and all(row(page, name) for name in names)


def test_the_reference_names_every_setting_with_its_default() -> None:
    page, defaults = text("settings.md"), conf.Settings()
    for item in fields(conf.Settings):
        value = getattr(defaults, item.name)
        if item.name == "CHILDREN":
            assert "the number of cores" in row(page, item.name)
            assert value == (os.cpu_count() or 1)
        elif hasattr(value, "__dataclass_fields__"):
            for part in fields(value):
                line = row(page, f'{item.name}["{part.name}"]')
                assert f"`{getattr(value, part.name):g}`" in line, (item.name, part.name)
        elif item.default is MISSING and isinstance(value, int):
            # It depends on the machine.
            assert "processors" in row(page, item.name), item.name
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            assert f"`{value:g}`" in row(page, item.name), item.name
        else:
            assert f"`{value!r}`" in row(page, item.name), item.name


def commands() -> list[str]:
    package = importlib.import_module("operator_app.management.commands")
    return [info.name for info in pkgutil.iter_modules(package.__path__)]


@pytest.mark.parametrize("name", commands())
def test_the_reference_names_every_option_of_a_command(name: str) -> None:
    page = text("commands.md")
    assert f"`{name}`" in page
    parser = load_command_class("operator_app", name).create_parser("manage.py", name)
    django_own = {"--version", "--verbosity", "--settings", "--pythonpath", "--traceback"}
    django_own |= {"--no-color", "--force-color", "--skip-checks", "--help"}
    for action in parser._actions:
        for option in action.option_strings:
            if option.startswith("--") and option not in django_own and action.help != SUPPRESS:
                assert row(page, option) or row(page, f"{option} {action.metavar}"), option


def check_ids() -> set[str]:
    """Every id that the source of the package gives to a check."""
    found = set()
    for path in Path(operator_app.__file__).parent.rglob("*.py"):
        found |= set(re.findall(r"operator_app\.[EWI]\d+", path.read_text()))
    return found


def test_the_reference_names_every_check() -> None:
    page = text("checks.md")
    missing = sorted(name for name in check_ids() if not row(page, name))
    assert not missing, missing
    invented = set(re.findall(r"operator_app\.[EWI]\d+", page)) - check_ids()
    assert not invented, invented
    assert registry.registry is not None


@pytest.mark.parametrize("model", [Operation, OperationQuerySet, OperationJob])
def test_the_reference_names_every_public_method(model: type) -> None:
    page = text("models.md")
    django_own = {"save", "save_base", "from_db", "refresh_from_db", "check", "bulk_create"}
    for name, value in vars(model).items():
        plain = getattr(value, "__func__", value)
        callable_ = inspect.isfunction(plain) and "<locals>" not in plain.__qualname__
        generated = callable_ and plain.__module__.startswith("django.")
        if name.startswith("_") or name in django_own or not callable_ or generated:
            continue
        assert re.search(rf"\b{name}\b", page), f"{model.__name__}.{name}"


@pytest.mark.parametrize("name", operator_models.__all__)
def test_the_reference_names_every_model_and_column(name: str) -> None:
    page, model = text("models.md"), getattr(operator_models, name)
    assert name in page
    if hasattr(model, "_meta"):
        for field in model._meta.concrete_fields:
            assert f"`{field.name}`" in page, f"{name}.{field.name}"


def test_the_reference_names_every_action_that_is_logged() -> None:
    page = text("logging.md")
    for path in Path(operator_app.__file__).parent.rglob("*.py"):
        source = path.read_text()
        found = re.findall(r'"action": "(\w+)"', source)
        found += re.findall(r'(?:log\.transition|log\.facts)\("(\w+)"', source)
        for action in found:
            assert f"`{action}`" in page, (path.name, action)
    for outcome in operator_app.outcomes.Outcome.__subclasses__():
        for kind in outcome.__subclasses__():
            assert f"`{kind.name}`" in page


def test_each_line_of_the_log_has_an_action() -> None:
    levels = {"debug", "info", "warning", "error", "exception", "critical", "log"}
    for path in Path(operator_app.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr in levels and ast.unparse(node.func.value).endswith("logger"):
                given = {each.arg for each in node.keywords}
                assert "extra" in given, (path.name, node.lineno, ast.unparse(node))


def test_pages_link_to_pages_that_exist() -> None:
    for page in [README, *PAGES]:
        source = page.read_text()
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", source):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
