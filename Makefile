# The one interface for people and CI. `make` lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
COMPAT_STAMP := $(VENV)/.installed-compat
FUZZ_STAMP := $(VENV)/.installed-fuzz
S3_STAMP := $(VENV)/.installed-s3-server

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-zA-Z0-9_-]+:.*## / {printf "  %-23s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml | $(BIN)/python
	@echo "Installing kcp-tmc into $(VENV) …"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(DEV_STAMP): pyproject.toml | $(BIN)/python
	@echo "Installing kcp-tmc and its development tools into $(VENV) …"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(STAMP)

$(S3_STAMP): pyproject.toml | $(BIN)/python
	@echo "Installing an S3 server for tests into $(VENV)/moto …"
	@$(PYTHON) -m venv $(VENV)/moto
	@$(VENV)/moto/bin/pip install --quiet --disable-pip-version-check 'moto[server]>=5.1'
	@touch $@

$(COMPAT_STAMP): $(DEV_STAMP)
	@echo "Installing the clients and profilers that end-to-end tests run …"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,compat,delivery,analysis]'
	@touch $@

$(FUZZ_STAMP): $(DEV_STAMP)
	@echo "Installing what tests/fuzz needs for long runs …"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,fuzz]'
	@touch $@

.PHONY: setup
setup: $(DEV_STAMP) $(S3_STAMP) ## Make the virtual environment with everything that development needs

.PHONY: demo
demo: $(STAMP) ## Set up, then run one Deployment over two simulated clusters and show what happens
	@$(BIN)/kcp sandbox --once hello-world

.PHONY: sandbox
sandbox: $(STAMP) ## The same fleet, kept running until Ctrl-C
	@$(BIN)/kcp sandbox

.PHONY: check
check: $(DEV_STAMP) ## Lint, types, import rules, architecture and documentation tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/test_architecture.py tests/test_docs.py

.PHONY: test
test: $(DEV_STAMP) $(S3_STAMP) ## All tests but the end-to-end ones
	$(BIN)/pytest -q -n 2 --dist loadfile -m "not e2e"

.PHONY: test-contract
test-contract: $(DEV_STAMP) ## The contract suites only
	$(BIN)/pytest -q tests/contract

.PHONY: test-e2e
test-e2e: $(COMPAT_STAMP) $(S3_STAMP) ## Real processes, TLS, kubectl and other strangers' clients
	$(E2E) -n 2 --dist loadfile tests

.PHONY: fuzz
fuzz: $(FUZZ_STAMP) ## Requests to every endpoint, then every parser under atheris; FUZZ="--minutes=60 --seed=1 yaml cel" for more
	$(BIN)/python -W ignore -m tests.fuzz $(FUZZ)

.PHONY: replay
replay: $(STAMP) ## Fleets under virtual time, a thousand chapters and a thousand seeds; REPLAY="--seeds=10 --hours=24" for others
	@$(BIN)/kcp sim replay --quiet --chapters --seeds=1000
	@$(BIN)/kcp sim replay --quiet --seeds=1000 --hours=0.5 $(REPLAY)

.PHONY: benchmark
benchmark: $(STAMP) ## Every benchmark, one after the other; the figures of docs/benchmarks.md
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

include $(sort $(wildcard make/*.mk))

.PHONY: run
run: $(STAMP) ## The control plane with TMC, in the foreground
	$(BIN)/kcp start --root-directory=.kcp --enable-tmc --v=2

.PHONY: clean
clean: ## Remove what was built and cached; never data
	rm -rf build bin dist .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -exec rm -rf {} +
