# Two commands do everything on a fresh machine:
#   make demo   set up, draw fruit with a trained model, then train on handwritten digits (a few minutes on a CPU)
#   make test   set up, run the whole test suite
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint clean

demo: .venv/demo.stamp
	$(BIN)/stylegan demo --out demo

test: .venv/dev.stamp
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: .venv/dev.stamp
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy

.venv/bin/python:
	$(PYTHON) -c "import sys; sys.exit('Python 3.11 or newer is needed, this is ' + sys.version.split()[0] + '; name another with make PYTHON=...' if sys.version_info < (3, 11) else 0)"
	$(PYTHON) -m venv .venv

.venv/demo.stamp: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[demo]"
	touch $@

.venv/dev.stamp: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf .venv demo
