# What a developer runs. Every target sets up what it needs first, and says so.
#
#   make demo    set up, then curate real photographs from seed labels to a manifest
#   make check   format, lint, types, import rules, docs drift and the fast tests: under a minute
#   make test    everything: the checks, and every test
#   make bench   the benchmarks, as JSON and as tables
#   make review-picture   the animated picture of a review in README.md, from the demo's photographs
#   make docs    write docs/settings.md and the keys in docs/review.md from the code

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 2
PYTEST := $(BIN)/python -m pytest -q --numprocesses $(JOBS)

.PHONY: help setup system static demo check test bench docs review-picture format

help:
	@sed -n 's/^#   //p' Makefile

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "curator needs Python 3.11 or newer. Name one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "==> Making the Python environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "That needs Python's venv module (on Debian and Ubuntu: apt-get install python3-venv)."; \
	  exit 1; }
	@echo "==> Installing curator and what it stands on into $(VENV)"
	@echo "    (PyTorch with its GPU libraries among it: about 5 GB, several minutes the first time)"
	@$(BIN)/python -m pip install --disable-pip-version-check --editable '.[dev]'
	@touch $(STAMP)
	@echo "==> The environment is ready"

system:
	@sh .ci/system-packages

demo: $(STAMP)
	@$(BIN)/curator demo

static: $(STAMP)
	@echo "==> Format"
	@$(BIN)/ruff format --check .
	@echo "==> Lint"
	@$(BIN)/ruff check .
	@echo "==> Types"
	@$(BIN)/mypy
	@echo "==> Import rules"
	@$(BIN)/lint-imports --no-logo --no-cache
	@echo "==> Settings reference"
	@$(BIN)/python docs/make_settings.py --check
	@echo "==> Keys of the review"
	@$(BIN)/python docs/make_review.py --check
	@echo "==> Commands reference"
	@$(BIN)/python docs/make_commands.py --check

check: static
	@echo "==> Fast tests"
	@$(PYTEST) -m "not slow"

test: system static
	@echo "==> Every test"
	@$(PYTEST)

bench: $(STAMP)
	@for name in encoding rounds catalogue export review_latency review_queue validity \
	    certificates tasks pack; do \
	  echo "==> Benchmark: $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

docs: $(STAMP)
	@$(BIN)/python docs/make_settings.py
	@$(BIN)/python docs/make_review.py
	@$(BIN)/python docs/make_commands.py

review-picture: $(STAMP)
	@$(BIN)/python -m docs.make_screenshots .data/solar-cells animation

format: $(STAMP)
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .
