# `make` lists the targets. All of them make the environment first, where it is missing or out of date.

# The first interpreter that runs and is new enough; override with make PYTHON=...
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
UV := $(shell uv --version >/dev/null 2>&1 && echo uv)

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-all bench lint format clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(READY) ## make the environment in .venv

# Again whenever what it is made from has changed. Most of what is installed is never imported, and so need not be
# compiled: a quarter of the time.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "lazybars needs Python 3.11 or later: make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
ifeq ($(UV),uv)
	uv pip install --quiet --python $(BIN)/python -e '.[dev]' -c constraints.txt
else
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[dev]' -c constraints.txt
endif
	@touch $@

demo: $(READY) ## one strategy, eager and lazy, on real and on generated bars, side by side
	$(BIN)/lazybars demo

test: lint ## what CI runs: lint, types and the tests
	$(BIN)/python -m pytest -n auto --dist worksteal

test-all: lint ## the same with the long tests
	LAZYBARS_PROFILE=full $(BIN)/python -m pytest -n auto --dist worksteal

bench: $(READY) ## the benchmarks
	$(BIN)/python -m pytest benchmarks --benchmark-enable --benchmark-only

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment, caches and what was built
	rm -rf $(VENV) .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist logs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
