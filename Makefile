# Needs only Python 3.11 or newer. Everything is installed into .venv, once; repeating a target does not install again.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready
JOBS ?= 2

.PHONY: demo test lint types unit slow clean

demo: $(READY)
	$(BIN)/limner demo

test: lint types unit

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

unit: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -rs -n $(JOBS)

slow: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) -m slow

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "limner needs Python 3.11 or newer: install it, or say make PYTHON=/path/to/python" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,serve,data,cluster,track,eval]'
	@$(BIN)/python -c 'import skia' || { echo "skia-python (drawing) needs the system's libGL, libEGL and fontconfig;" \
		"on Debian and Ubuntu: apt-get install libgl1 libegl1 libfontconfig1" >&2; exit 1; }
	touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
