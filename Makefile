# `make help` lists the verbs. Everything runs in .venv, which `make setup` creates.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= out/demo
# `--require-data`, which CI gives, fails where the real data beside the project is absent.
PYTEST ?=

.PHONY: help setup demo test test-fast test-slow contract check lint format types imports docs protos models bench clean

help: ## Show the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP) ## Create .venv with everything (about 5 minutes, 6 GB: torch is the bulk)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "fibsem-nuclei needs Python 3.11 or newer; name one: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { \
	  echo "Python's venv module is incomplete: installing it needs 'apt-get install python3-venv'" >&2; \
	  rm -rf $(VENV); test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq python3-venv && $(PYTHON) -m venv $(VENV); }
	@echo "Installing Python packages into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,dev]'
	@touch $@

demo: setup ## Acquire a simulated gonad live, segment it meanwhile, score it, write the report
	@$(BIN)/fibsem-nuclei demo --out $(OUT)

test: check test-fast test-slow ## Everything that needs no server: lint, types, import contracts, docs, all tests

test-fast: setup ## The fast part of the tests
	@$(BIN)/python -m pytest -q -n auto --dist loadfile $(PYTEST) -m 'not slow and not system'

test-slow: setup ## The tests that take longer
	@$(BIN)/python -m pytest -q -n auto --dist loadfile $(PYTEST) -m 'slow and not system'

contract: setup ## The contract suites of the ports alone
	@$(BIN)/python -m pytest -q -m 'not system' tests/contract

check: lint types imports docs ## Lint, types, import contracts, generated code, spelling

lint: setup ## Ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: setup ## Let ruff rewrite the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: setup ## mypy, strict
	@$(BIN)/mypy

imports: setup ## Dependencies point one way
	@$(BIN)/lint-imports

docs: setup ## Generated code and diagram are up to date; words are spelt right
	@$(BIN)/python protos/generate.py --check
	@$(BIN)/python -m services.contracts.diagram --check README.md
	@$(BIN)/codespell README.md CHANGELOG.md services protos tests --skip '*/pb/*,*.binpb,*.pt2,*.safetensors,*.png'

protos: setup ## Generate the protobuf code
	@$(BIN)/python protos/generate.py

models: setup ## Train the shipped networks again (resumable; hours on two cores, minutes on a GPU)
	@$(BIN)/fibsem-nuclei train services/trainer/recipes/shipped.toml --out services/inference/models

bench: setup ## Benchmarks: both sides interleaved, the ratio printed
	@for script in tests/benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script; done

clean: ## Remove what the verbs made, but not .venv
	@rm -rf out build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
