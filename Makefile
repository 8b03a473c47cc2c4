# Everything a contributor or a build machine does with Fairway. `make` lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# One test worker per core, and no more than the real-process tests can share a machine with.
WORKERS ?= logical
PYTEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=

UV_COMPILE = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-header $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
# `check` is a sequence: the cheap refusals first.
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

.PHONY: help venv demo test thorough lint types floors check bench lock fmt clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

venv: $(STAMP) ## create .venv from the lock (PYTHON=python3.12 chooses the interpreter)

$(STAMP): pyproject.toml requirements/dev.txt
	@command -v "$(PYTHON)" > /dev/null || { \
		echo "Fairway needs Python 3.11 or newer, and '$(PYTHON)' is not on the PATH: install it, or name one: make venv PYTHON=python3.12" >&2; \
		exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Fairway needs Python 3.11 or newer, and '$(PYTHON)' is older: name a newer one: make venv PYTHON=python3.12" >&2; \
		exit 1; }
	@echo "Installing Fairway's locked dependencies into $(VENV) ..."
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "'$(PYTHON) -m venv' failed: on Debian and Ubuntu, install the package python3-venv" >&2; \
		exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: venv ## show real work going through the loop, in under two minutes (DEMO_ARGS=--json)
	@$(BIN)/fairway demo $(DEMO_ARGS)

test: venv ## run the tests, one worker per core (PYTEST_ARGS="-k gang -x", WORKERS=0 for one process)
	@$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal $(PYTEST_ARGS)

thorough: venv ## run the tests with 10,000 examples for every property
	@FAIRWAY_HYPOTHESIS=thorough $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --timeout 0 $(PYTEST_ARGS)

lint: venv ## check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: venv ## check the types: strict on model, state, decide and engine
	@$(BIN)/basedpyright

floors: venv ## check that imports go downstairs only
	@$(BIN)/lint-imports --no-logo

check: lint types floors test ## lint, types, floors and test: what a change must pass

bench: venv ## run the benchmarks in small sizes (BENCH_ARGS=...)
	@$(BIN)/python -m bench $(BENCH_ARGS)

fmt: venv ## put the code in the one format and fix what can be fixed
	@$(BIN)/ruff check --fix-only --exit-zero .
	@$(BIN)/ruff format .

lock: venv ## resolve the dependencies again (UPGRADE=1 takes the newest versions)
	@$(UV_COMPILE) --output-file requirements/runtime.txt
	@$(UV_COMPILE) --all-extras --group dev --constraint requirements/runtime.txt --output-file requirements/dev.txt

clean: ## remove the environment, the caches and the build products
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
