# Each target does all of its own set-up in a fresh clone: its own virtual environment, pinned versions.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test bench clean

demo: $(VENV)/core
	$(BIN)/togi demo

test: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

bench: $(VENV)/bench
	$(BIN)/python benchmarks/generate.py
	$(BIN)/python benchmarks/grpo_step.py
	$(BIN)/python benchmarks/preference_step.py
	$(BIN)/python benchmarks/sandbox.py
	$(BIN)/python benchmarks/experiment.py

$(VENV)/core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -c constraints.txt -e .
	touch $@

$(VENV)/test: $(VENV)/core
	$(BIN)/pip install -c constraints.txt -e '.[test]'
	touch $@

$(VENV)/bench: $(VENV)/core
	$(BIN)/pip install -c constraints.txt -e '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
