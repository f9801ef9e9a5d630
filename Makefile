# What people and CI run. Everything made lies below build/, which git ignores. Needs Python 3.11 with venv, git and make.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV_VERSION := 0.13.9
UV := $(or $(shell command -v uv),build/uv/bin/uv)
VENV := build/venv
BIN := $(VENV)/bin
# nothing of the caller's Python environment reaches ours: without byte code, say, every command would compile what it imports
ISOLATED := env $(patsubst %,-u %,$(filter PYTHON%,$(.VARIABLES))) -u VIRTUAL_ENV PYTHONNOUSERSITE=1
# 'make up', 'down' and 'status' are about the demo's state once there is one, unless TIDEGATE_STATE names another
STATE := $(or $(TIDEGATE_STATE),$(if $(wildcard build/demo/state),build/demo/state,build/state))
# what the environment was made of: the lock, the package's metadata, and where it lies (an environment cannot be moved)
WANTED = $$({ cat requirements.lock pyproject.toml; pwd; $(PYTHON) -VV; } | sha256sum | cut -c1-64)

.PHONY: test-kills help demo demo-returns demo-anomaly demo-lead-time up down status test lint format types imports lock schema setup clean

help: ## say what there is to make
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup ## tell the whole story on real data: train, serve, roll out, roll back; leaves build/demo/report.html
	@$(ISOLATED) $(BIN)/python -m demo

demo-returns: setup ## the story of one model in two minutes: images of returned items, and what share of them goes to people
demo-anomaly: setup ## the same of windows of telemetry
demo-lead-time: setup ## the same of shipments, with features in a store
demo-returns demo-anomaly demo-lead-time: demo-%:
	@$(ISOLATED) $(BIN)/python -m demo.models $(subst -,_,$*)

up: setup ## keep the platform running to explore; it says where to look
	@$(ISOLATED) TIDEGATE_STATE=$(STATE) $(BIN)/tidegate up

down: ## stop what 'make up' started; data stay
	@if [ -x $(BIN)/tidegate ]; then $(ISOLATED) TIDEGATE_STATE=$(STATE) $(BIN)/tidegate down; else echo "nothing is installed, so nothing runs"; fi

status: setup ## what is live, since when, on what evidence, and what is drifting
	@$(ISOLATED) TIDEGATE_STATE=$(STATE) $(BIN)/tidegate status

test: setup ## run all tests, three files at a time; ends with their count
	@$(ISOLATED) $(BIN)/python -m pytest tests -q -n 3 --dist loadfile --no-loadscope-reorder $(PYTEST_MORE)

test-kills: setup ## 75 kills under load (replicas, gateway, supervisor, rollouts under way), some two minutes; ends with a table
	@$(ISOLATED) PYTHONPATH=platform:tests $(BIN)/python -m e2e.local.kills

lint: setup ## ruff: rules and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: setup ## ruff: put files into format
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

types: setup ## mypy --strict over the package and infra
	@$(ISOLATED) $(BIN)/mypy

imports: setup ## the layers: who may import whom
	@$(ISOLATED) PYTHONPATH=platform $(BIN)/lint-imports --config .importlinter --no-cache

lock: $(UV) ## write the locks anew from pyproject.toml and infra/images/triton (UPGRADE=1: newest versions)
	@$(UV) pip compile infra/images/triton/requirements.in --no-deps --generate-hashes --python-version 3.11 \
	  --python-platform x86_64-manylinux_2_35 --no-emit-index-url --no-annotate -q -o infra/images/triton/requirements.lock
	@$(UV) pip compile pyproject.toml --all-extras --generate-hashes --python-version 3.11 --no-emit-index-url --no-annotate \
	  $(if $(UPGRADE),--upgrade) -q -o requirements.lock

schema: setup ## write docs/tidegate.schema.json anew from the project file's definition
	@$(ISOLATED) $(BIN)/python -m tidegate.adapters.files.project_file schema > build/tidegate.schema.json
	@mv build/tidegate.schema.json docs/tidegate.schema.json

# Installs once; the stamp holds the digest of what the environment was made of, so a second call does nothing.
setup:
	@if [ "$$(cat $(VENV)/.made-of 2>/dev/null || true)" != "$(WANTED)" ]; then $(MAKE) build/venv/install; fi

.PHONY: build/venv/install
build/venv/install: $(UV)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "error: Python 3.11 is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1); name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "installing the packages of requirements.lock into $(VENV), once"
	@rm -f $(VENV)/.made-of
	@$(UV) venv -q --clear --python "$(PYTHON)" $(VENV)
	@$(ISOLATED) VIRTUAL_ENV=$(VENV) $(UV) pip sync -q --require-hashes requirements.lock
	@$(ISOLATED) VIRTUAL_ENV=$(VENV) $(UV) pip install -q --no-deps --no-build-isolation -e .
	@echo "$(WANTED)" > $(VENV)/.made-of

build/uv/bin/uv:
	@echo "installing uv $(UV_VERSION) into build/uv, once"
	@$(PYTHON) -m venv build/uv || { echo "error: '$(PYTHON) -m venv' failed; install Python's venv module (Debian: python3-venv)" >&2; exit 1; }
	@build/uv/bin/pip install -q --disable-pip-version-check uv==$(UV_VERSION)

clean: down ## stop everything and delete build/: environment, state and reports
	@for demo in build/demo-*; do if [ -d "$$demo/state" -a -x $(BIN)/tidegate ]; then $(ISOLATED) TIDEGATE_STATE=$$demo/state $(BIN)/tidegate -C $$demo/project down; fi; done
	@rm -rf build

include tests/cluster/one_node/cluster.mk
