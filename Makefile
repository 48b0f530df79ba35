# `make demo` and `make test` each work by themselves from a bare checkout.
PYTHON ?= python3
VENV   ?= .venv
OUT    ?= out
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# One thread per process: pytest-xdist already uses the cores, and torch's threads get in each other's way.
export OMP_NUM_THREADS ?= 1

DEMO_MODEL ?= models/gallery/sparse_coding.ebm
DEMO_DATA  ?= sklearn:digits
DEMO_OUT   ?= $(OUT)/codes.npz

.DEFAULT_GOAL := help
.PHONY: help install demo test lint bench dot clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP)  ## make .venv and install into it

# The constraints are part of the very command that first needs torch: without the pin pip would choose the
# newest build, with gigabytes of CUDA packages. The stamp is written last, so a broken install starts over.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "ebmlang needs Python 3.11 or newer, but $(PYTHON) is `$(PYTHON) --version 2>&1`; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

dot:
	@command -v dot >/dev/null 2>&1 || { \
	  echo "Graphviz's 'dot' was not found, so no pictures are drawn. Everything else works without it."; \
	  echo "To get it: apt-get install graphviz   (Debian, Ubuntu)"; \
	  echo "       or: brew install graphviz      (macOS)"; }

demo: $(STAMP) dot  ## infer sparse codes for 1797 handwritten digits
	@mkdir -p $(OUT)
	$(BIN)/ebmlang infer $(DEMO_MODEL) --data $(DEMO_DATA) --set k=128 -o $(DEMO_OUT) --force

test: $(STAMP)  ## run the test suite
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP)  ## measure; prints the numbers
	$(BIN)/python -m benchmarks

clean:  ## remove .venv, builds and caches
	rm -rf $(VENV) $(OUT) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
