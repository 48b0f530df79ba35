# `make demo` and `make test` each work by themselves from a bare checkout.
PYTHON ?= python3
VENV   ?= .venv
OUT    ?= out
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# One thread per process: pytest-xdist already uses the cores, and torch's threads get in each other's way.
export OMP_NUM_THREADS ?= 1

DEMO := models/gallery/sparse_coding.ebm

.DEFAULT_GOAL := help
.PHONY: help install demo test lint bench docs dot clean

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
	  echo "Graphviz's 'dot' was not found, so the factor graph is not drawn. Everything else works."; \
	  echo "To get it: apt-get install graphviz   (Debian, Ubuntu)"; \
	  echo "       or: brew install graphviz      (macOS)"; }

demo: $(STAMP) dot  ## check, explain, draw a model; codes for 1797 handwritten digits
	@mkdir -p $(OUT)
	$(BIN)/ebmlang check $(DEMO)
	$(BIN)/ebmlang explain $(DEMO)
	@! command -v dot >/dev/null 2>&1 || $(BIN)/ebmlang graph $(DEMO) -o $(OUT)/graph.png --force
	$(BIN)/ebmlang compile $(DEMO) -o $(OUT)/sparse_coding.py --force
	@$(BIN)/python docs/demo.py dictionary $(OUT)/dictionary.safetensors
	$(BIN)/ebmlang infer $(DEMO) --data sklearn:digits --params $(OUT)/dictionary.safetensors \
	  --set lam=2 -o $(OUT)/codes.npz --force
	@$(BIN)/python docs/demo.py picture $(OUT)/dictionary.safetensors $(OUT)/codes.npz $(OUT)/digits.png
	@echo
	@echo "In $(OUT)/ now:"
	@echo "  codes.npz               the codes, energies and status of every digit"
	@echo "  digits.png              digits, and what their codes say"
	@echo "  dictionary.safetensors  the dictionary: 128 of the digits"
	@echo "  sparse_coding.py        the PyTorch that found the codes"
	@! test -f $(OUT)/graph.png || echo "  graph.png               the factor graph"

docs: $(STAMP)  ## renew the generated parts of the documentation
	$(BIN)/python -m docs.generate

test: $(STAMP)  ## run the test suite
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP)  ## measure; prints the numbers
	$(BIN)/python -m benchmarks

clean:  ## remove .venv, builds and caches
	rm -rf $(VENV) $(OUT) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
