# `make help` lists the verbs. Everything runs in .venv, which `make setup` creates.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
AUDIT := $(VENV)/audit
SERVICE ?= osv
OUT ?= out/demo
# `--require-data`, which CI gives, fails where the real data beside the project is absent.
PYTEST ?=

# The deployed system. GPU=1 gives the model server a device; LOCAL=1 builds Kafka and Prometheus instead of pulling them.
COMPOSE ?= docker compose
FILES := -f docker-compose.yml $(if $(LOCAL),-f deploy/docker-compose.local.yml) $(if $(GPU),-f deploy/docker-compose.gpu.yml)
PROFILES := $(if $(GPU),--profile gpu) $(if $(SCALE),--profile scale) $(if $(TRAIN),--profile train)
# A device computes in another profile than a processor, and results say which.
STACK = $(if $(GPU),NUMERIC_PROFILE=$${NUMERIC_PROFILE:-fast}) $(COMPOSE) $(FILES) $(PROFILES)

.PHONY: help setup demo test test-fast test-slow contract check lint format types imports docs protos models bench clean \
  servers science system system-full up down logs simulate operate bundle audit

help: ## Show the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

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

servers: setup ## Provide the servers that the system tests start: packages, Kafka, MinIO (4 minutes, once)
	@$(BIN)/python -m tests.system.servers.provide

system: servers ## The deployed system's tests on real servers (Kafka, MinIO, TorchServe, Prometheus), which it provides
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile $(PYTEST) -m 'system and not full' tests/system tests/unit/deploy

system-full: servers ## Every row of the failure matrix; hours on two cores
	@$(BIN)/python -m pytest -q $(PYTEST) -m system tests/system tests/unit/deploy

up: ## Start the deployed system and say what to open; GPU=1, LOCAL=1, SCALE=1, TRAIN=1
	@$(PYTHON) deploy/make_secrets.py
	@$(STACK) up --detach --build --wait
	@echo "Grafana:     http://localhost:$${GRAFANA_PORT:-3000}   (admin; password in deploy/.secrets/grafana.env)"
	@echo "How it is:   make operate VERB='status stack'"

simulate: ## Start a simulated microscope in the deployed system
	@$(STACK) --profile simulate up --detach --build microscope
	@echo "Slices are being milled; watch them in Grafana, or: make logs"

operate: ## Run a verb in the deployed system: make operate VERB='collect stack --wait --out /results/live'
	@$(STACK) run --rm operate fibsem-nuclei $(VERB)

logs: ## Follow what the services say
	@$(STACK) logs --follow --tail 20

down: ## Stop the deployed system; its volumes stay
	@$(STACK) --profile simulate --profile tools --profile train down

science: setup ## Train on public data from scratch and score: make science TASK=epfl6|hela|mito|membranes|phantom|table1 [FOLD=1]
	@$(BIN)/python -m tests.benchmarks.science $(TASK) $(if $(FOLD),--fold $(FOLD))

bundle: setup ## One folder from which a site without a network installs: make bundle BUNDLE='dist/x --tar --without-torch'
	@$(BIN)/python deploy/bundle/make_bundle.py $(or $(BUNDLE),dist/fibsem-nuclei-bundle)

audit: $(AUDIT)/bin/pip-audit ## Ask for known vulnerabilities of the pinned packages; fails if there are any, or if none could be asked about
	@$(PYTHON) deploy/audit.py constraints.txt --program $(AUDIT)/bin/pip-audit --service $(SERVICE)

$(AUDIT)/bin/pip-audit:
	@$(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/pip install -q pip-audit==2.10.1

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
	@$(BIN)/python deploy/grafana/generate.py --check
	@$(BIN)/codespell README.md CHANGELOG.md docker-compose.yml deploy docs services protos tests --skip '*/pb/*,*.binpb,*.pt2,*.safetensors,*.png'

protos: setup ## Generate the protobuf code
	@$(BIN)/python protos/generate.py

models: setup ## Train the shipped networks again (resumable; hours on two cores, minutes on a GPU)
	@$(BIN)/fibsem-nuclei train services/trainer/recipes/shipped.toml --out services/inference/models

bench: setup ## Benchmarks: both sides interleaved, the ratio printed
	@for script in tests/benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script; done

clean: ## Remove what the verbs made, but not .venv
	@rm -rf out build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
