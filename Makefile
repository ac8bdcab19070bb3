# Two commands do everything: `make demo` and `make test`. Both set up first.
PYTHON ?= $(firstword $(foreach p,python3.13 python3.12 python3.11 python3,$(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $(p))))
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.orch-setup

.PHONY: setup demo test test-integrations lint bench soak lock clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   set up, then rent an L40 in the sandbox: failover, SSH, teardown, the bill"
	@echo "make test   set up, then run all tests"
	@echo "make test-integrations   pipeline tools (prefect) in a virtual environment of their own"
	@echo "make lint   ruff, mypy --strict, import contracts"
	@echo "make bench  benchmarks"
	@echo "make soak   long runs"

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed"; echo "hint: apt-get install python3 python3-venv"; exit 1; }
	@if command -v uv >/dev/null 2>&1; then \
	  echo "setting up $(VENV) with uv" && uv venv -q --allow-existing --python $(PYTHON) $(VENV) && \
	  uv pip install -q --python $(BIN)/python --require-hashes -r requirements.lock && \
	  uv pip install -q --python $(BIN)/python --no-deps -e . ; \
	else \
	  echo "setting up $(VENV) with pip (a minute or two)" && \
	  { $(PYTHON) -m venv $(VENV) || { echo "hint: apt-get install python3-venv"; exit 1; }; } && \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock && \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e . ; \
	fi
	@touch $(STAMP)

demo: setup
	@BIN=$(abspath $(BIN)) sh deploy/demo.sh

# Three workers on two cores: many tests wait for processes and for SSH.
test: setup
	$(BIN)/python -m pytest -n 3 --dist loadgroup -q tests

# Where their packages cannot be installed, the tests are skipped and say why.
test-integrations: setup
	@sh tests/integrations/setup.sh $(PYTHON) .venv-integrations tests/integrations/requirements.txt --no-deps
	@if [ -f tests/integrations/requirements-clients.txt ]; then \
	  sh tests/integrations/setup.sh $(PYTHON) .venv-integrations/clients tests/integrations/requirements-clients.txt --no-deps ; \
	fi
	$(BIN)/python -m pytest -q tests/integrations

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m pytest tests/bench -q --benchmark-enable --benchmark-only --benchmark-columns=min,median,max,rounds

soak: setup
	$(BIN)/python -m pytest tests -q -m soak

# Needs uv. The lock names versions and hashes, and no host.
lock:
	uv pip compile -q --universal --python-version 3.11 --all-extras --group dev --generate-hashes \
	  --no-emit-index-url --no-annotate --custom-compile-command "make lock" pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) .venv-integrations .pytest_cache .mypy_cache .ruff_cache
