.DEFAULT_GOAL := help
SHELL := /bin/bash

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c '$(SUPPORTED)' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
PY := $(VENV)/bin/python
UV := $(VENV)/bin/uv
READY := $(VENV)/.ready
WORKERS ?= 2

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY)  ## see it work: define, execute, watch, kill -9, recover (under a minute)
	@$(PY) -m demo

serve: $(READY)  ## REST :8000, gRPC :50051 and the engine in one process, on SQLite
	@$(PY) cli.py serve $(ARGS)

stack: $(READY)  ## the processes of docker-compose.yml without Docker: PostgreSQL, Redis, api, gRPC server
	@$(PY) -m deploy.stack $(ARGS)

test: $(READY)  ## every test, in parallel, on real servers
	@$(PY) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: $(READY)  ## format, lint, types, floors
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy . && $(VENV)/bin/lint-imports --no-logo && $(VENV)/bin/buf lint proto

fmt: $(READY)  ## format and repair what can be repaired by itself
	@$(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix .

bench: $(READY)  ## measure, each figure beside its limit
	@$(PY) -m benchmarks $(ARGS)

chaos: $(READY)  ## kill, stop and break for real: make chaos N=300
	@$(PY) -m tests.chaos $(filter-out PYTHON=%,$(MAKEOVERRIDES)) $(ARGS)

proto: $(READY)  ## compile the gRPC contract
	@$(PY) -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. proto/workflow/v1/workflow.proto

COMPILE = $(UV) pip compile pyproject.toml --universal --python-version 3.11 --quiet \
	--custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)
lock: $(READY)  ## write the exact versions (UPGRADE=1: the newest that fit)
	@$(COMPILE) -o requirements.txt
	@$(COMPILE) --group dev -c requirements.txt -o requirements-dev.txt

clean:  ## remove what can be made again
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .schemathesis .run .bench
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements-dev.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed; name it with PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c '$(SUPPORTED)' || { echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13"; exit 1; }
	@test -x $(UV) || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV) && $(PY) -m pip install --quiet \
		$$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements-dev.txt); }
	@VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet -r requirements-dev.txt || $(PY) -m pip install --quiet -r requirements-dev.txt
	@touch $@

.PHONY: help demo serve stack test check fmt bench chaos proto lock clean
