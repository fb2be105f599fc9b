# Everything is installed into .venv/ from constraints.txt; nothing else on the machine is touched by `make demo`.
PYTHON ?= python3
comma := ,
VENV := .venv
# What was installed last; the developer's set holds the demo's.
RUNTIME := $(VENV)/.runtime
DEVELOPER := $(VENV)/.developer
# The demo retrains its model with the real exporter, which exists for x86_64 only; elsewhere it takes a shipped one.
TRAIN := $(if $(filter x86_64,$(shell uname -m)),$(comma)train)

.PHONY: demo test check setup clean
.DEFAULT_GOAL := help

help: ## Say what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 10

setup: $(DEVELOPER) ## Install vitalwire with everything that development needs into .venv

$(RUNTIME): pyproject.toml constraints.txt scripts/setup.py
	@$(PYTHON) scripts/setup.py --venv $(VENV) --extras edge,cloud,sim$(TRAIN)
	@touch $@

$(DEVELOPER): pyproject.toml constraints.txt scripts/setup.py
	@$(PYTHON) scripts/setup.py --venv $(VENV) --extras edge,cloud,sim,postgresql,train,dev
	@touch $@

demo: $(or $(wildcard $(DEVELOPER)),$(RUNTIME)) ## Run everything on this machine and print where the live page is
	@$(VENV)/bin/vitalwire demo $(ARGS)

test: $(DEVELOPER) ## Install the servers that tests need and run all tests
	@scripts/servers.sh
ifeq ($(ARGS),)
	@# One thread of arithmetic for each worker: more of them would wait for each other.
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 4 --dist worksteal --ignore tests/integration/demo
	@# Whole demos want the machine for themselves: they train a model beside the stream.
	@$(VENV)/bin/python -m pytest tests/integration/demo
else
	@$(VENV)/bin/python -m pytest $(ARGS)
endif

check: $(DEVELOPER) ## Lint, types and import rules
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

clean: ## Remove what was built
	rm -rf $(VENV) build dist out *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
