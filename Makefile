# Everything runs in an environment that this file makes for itself: `make demo` and `make test` need nothing but a
# Python >= 3.12 (found on the PATH, or below pyenv) and, for tests, either Go or a package registry that brings it.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for name in python3.14 python3.13 python3.12 python3 \
	"$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python3; do \
	command -v "$$name" >/dev/null 2>&1 \
	&& "$$name" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 12))' 2>/dev/null \
	&& command -v "$$name" && break; done)
READY := $(VENV)/ready

.PHONY: demo test lint types unit prove bench cluster defaults docs pin clean

demo: $(READY)
	@$(BIN)/python -m examples.demo

test: lint controlplane
	$(BIN)/python -m pytest -n auto --dist loadfile -q

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: controlplane
controlplane: $(READY)   # built before the tests, so that its minutes are seen
	$(BIN)/python -m tests.controlplane build 1.36

prove: $(READY)
	$(BIN)/python -m tests.controlplane build 1.36 1.34
	$(BIN)/python -m pytest -q -m prove

bench: controlplane
	$(BIN)/python -m bench

cluster: controlplane
	$(BIN)/python -m tests.controlplane up

defaults: $(READY)
	$(BIN)/python -m tests.controlplane defaults 1.33 1.34 1.35 1.36

docs: $(READY)
	$(BIN)/python -m docs.generate

# The exact versions and their hashes, without the name of any index; the image gets those that were tested.
PIN := uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-emit-index-url --no-annotate --no-header
pin: $(READY)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/$(PIN) --extra dev --output-file requirements.txt pyproject.toml
	$(BIN)/$(PIN) --extra cel --constraint requirements.txt --output-file deploy/requirements.txt pyproject.toml
	echo setuptools | $(BIN)/$(PIN) --constraint requirements.txt --output-file deploy/build-requirements.txt -

$(READY): requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "posture needs Python 3.12 or newer: install one, or name it: make PYTHON=/path/to/python3"; exit 2; }
	@echo "making $(VENV) with $(PYTHON); this takes half a minute, once"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.txt
	@rm -rf build
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		--editable .
	@touch $(READY)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
