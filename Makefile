# `make` alone says what there is. Everything is installed into $(VENV), made on first use.

PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 8000
ARGS ?=
ROUNDS ?= 60

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo serve test browser screenshots chaos outages check check-format check-lint check-types \
	check-imports check-django check-templates matrix matrix-ends format bench bench-peers docs build clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  From the environment: PYTHON=$(PYTHON) VENV=$(VENV) HOST=$(HOST) PORT=$(PORT)"
	@echo "  ARGS='-k name' goes to pytest; tests/run.py and tests/databases.py name the rest."

demo: $(VENV)/.installed  ## watch operations being scheduled, run, stopped, cancelled, failed
	$(BIN)/python manage.py demo

serve: $(VENV)/.installed  ## the example project and its admin, at http://HOST:PORT
	$(BIN)/python manage.py serve $(HOST):$(PORT)

test: $(VENV)/.test  ## the tests, on every database that is here
	$(BIN)/python -m tests.run $(ARGS)

browser: $(VENV)/.browser  ## the pages of the admin in Chromium, which has to be here; into build/browser
	$(BIN)/python -m tests.browser $(ARGS)

screenshots: $(VENV)/.browser  ## take the pictures of the documentation anew
	$(BIN)/python -m tests.browser.screenshots $(ARGS)

outages: $(VENV)/.test  ## cut operators off from their databases, on every database that is here
	$(BIN)/python -m tests.run tests/outages $(ARGS)

# Minutes for each database. Each test prints the command that does the same again.
chaos: $(VENV)/.test  ## kill, pause and poison operators ROUNDS times, on every database
	OPERATOR_CHAOS_ROUNDS=$(ROUNDS) OPERATOR_TEST_WORKERS=0 $(BIN)/python -m tests.run \
		tests/chaos -s -o faulthandler_timeout=0 $(ARGS)

check: check-format check-lint check-types check-imports check-django check-templates  ## all checks that run no test

check-format: $(VENV)/.check
	$(BIN)/ruff format --check .

check-lint: $(VENV)/.check
	$(BIN)/ruff check .

check-types: $(VENV)/.check
	$(BIN)/mypy

check-imports: $(VENV)/.check
	$(BIN)/lint-imports

check-django: $(VENV)/.check
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check --fail-level WARNING
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python -m django makemigrations --check --dry-run
	DJANGO_SETTINGS_MODULE=tests.settings $(BIN)/python -m django check --fail-level WARNING

# djade also rewrites what only newer Djangos understand, unless told the oldest one.
check-templates: $(VENV)/.check
	@find operator_app example_project tests -path '*/templates/*' -name '*.html' -print0 \
		| xargs -0 -r $(BIN)/djade --check --target-version 5.2 && echo "Templates are formatted."

format: $(VENV)/.check  ## rewrite code and templates as `make check` wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only .
	@find operator_app example_project tests -path '*/templates/*' -name '*.html' -print0 \
		| xargs -0 -r $(BIN)/djade --target-version 5.2 || true

matrix: $(VENV)/.matrix  ## the tests on every pair of Python and Django that is here
	$(BIN)/nox -s tests

matrix-ends: $(VENV)/.matrix  ## the oldest and the newest pair, not all of it on every database
	$(BIN)/nox -s ends

bench: $(VENV)/.test  ## the benchmarks but those of bench-peers; on an idle machine, it takes a while
	$(BIN)/python -m benchmarks.pages
	$(BIN)/python -m benchmarks.claims
	$(BIN)/python -m benchmarks.drain
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.aborts
	$(BIN)/python -m benchmarks.latency
	$(BIN)/python -m benchmarks.stages

# About an hour and a half; ARGS='--quick --rounds 1' shows in half an hour whether all works.
bench-peers: $(VENV)/.bench  ## ours beside other job queues, into docs/benchmarks; on an idle machine
	$(BIN)/python -m benchmarks.peers $(ARGS)

docs: $(VENV)/.docs  ## the documentation, into build/docs
	$(BIN)/sphinx-build --fail-on-warning --keep-going -b html docs build/docs

build: $(VENV)/.pip  ## sdist and wheel, into dist
	$(PIP) install --quiet build
	$(BIN)/python -m build

clean:  ## remove everything made by these commands
	rm -rf $(VENV) .nox build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -not -path './.git/*' -exec rm -rf {} +

# Each stamp is older than pyproject.toml only when what it installs may have changed.

$(VENV)/.pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "$(PYTHON) is older than 3.10. Name another: make ... PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) \
		|| { echo "$(PYTHON) cannot make a virtual environment (Debian: apt install python3-venv)."; exit 1; }
	$(PIP) install --quiet --upgrade "pip>=25.1"
	@touch $@

$(VENV)/.installed: pyproject.toml | $(VENV)/.pip
	$(PIP) install --quiet -e .
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/.pip
	$(PIP) install --quiet -e . --group test
	$(BIN)/python -m tests.extras
	@touch $@ $(VENV)/.installed

# The type checker follows imports into the tests' tools too, so it needs what the tests need.
$(VENV)/.check: pyproject.toml $(VENV)/.test
	$(PIP) install --quiet -e . --group check
	@touch $@

$(VENV)/.browser: pyproject.toml $(VENV)/.test
	$(PIP) install --quiet --group browser
	@touch $@

$(VENV)/.bench: pyproject.toml $(VENV)/.test
	$(PIP) install --quiet --group bench
	@touch $@

$(VENV)/.docs: pyproject.toml | $(VENV)/.pip
	$(PIP) install --quiet -e . --group docs
	@touch $@ $(VENV)/.installed

$(VENV)/.matrix: pyproject.toml | $(VENV)/.pip
	$(PIP) install --quiet --group matrix
	@touch $@
