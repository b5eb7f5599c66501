# make test: what CI runs. make demo: the five-minute tour.
PYTHON ?= python3
BIN := .venv/bin

export OMP_NUM_THREADS = 1
export MPLBACKEND = Agg

.PHONY: test lint types demo

.venv/.core: pyproject.toml requirements/ci.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c requirements/ci.txt -e .
	touch $@

.venv/.ready: .venv/.core
	$(BIN)/pip install -q -c requirements/ci.txt -e '.[dev]'
	touch $@

test: lint types
	$(BIN)/pytest -q -n 2 --dist loadfile

lint: .venv/.ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/.ready
	$(BIN)/mypy latentphys

demo: .venv/.core
	$(BIN)/latentphys demo --out demo_output
