# Every target stands alone: it makes the virtual environment that it needs.
PYTHON ?= python3
BIN := .venv/bin

EXTRAS_test := test
EXTRAS_dev := dev,docs
EXTRAS_docs := docs

.PHONY: demo test check bench docs fuzz chaos

demo: .stamps/demo
	$(BIN)/python -m qserv.cli.main demo

test: .stamps/test
	$(BIN)/pytest -n 2 --dist loadgroup

check: .stamps/dev
	PATH="$(CURDIR)/$(BIN):$$PATH" .ci/check

# SEED, QUERIES, MINUTES and WORKERS (processes) may be given; the same STATE goes on
# where it stopped.
SEED ?= 1
QUERIES ?= 100000
MINUTES ?= 600
WORKERS ?= $(shell nproc)
STATE ?= .stamps/fuzz-$(SEED).json

fuzz: .stamps/test
	PYTHONPATH=tests $(BIN)/python -m fuzz --seed $(SEED) --queries $(QUERIES) \
		--workers $(WORKERS) --minutes $(MINUTES) --state $(STATE) --found $(basename $(STATE)).txt

bench: .stamps/test
	$(BIN)/python tests/bench/planning.py
	$(BIN)/python tests/bench/speed.py
	$(BIN)/python tests/bench/exchange.py
	$(BIN)/python tests/bench/loading.py

# Kills, many times over: ROUNDS at each point, from SEED; an hour or two on two cores.
ROUNDS ?= 40

chaos: .stamps/test
	CHAOS_ROUNDS=$(ROUNDS) CHAOS_SEED=$(SEED) $(BIN)/pytest tests/chaos -n 2 --dist loadgroup

docs: .stamps/docs
	$(BIN)/sphinx-build -q -W --keep-going -j auto docs docs/_build/html
	@echo "open docs/_build/html/index.html"

.stamps/demo: pyproject.toml | .venv
	@echo "installing qserv into .venv; the first time takes a minute"
	$(BIN)/python -m pip install --quiet --editable .
	@mkdir -p $(@D)
	@touch $@

# A stamp says that .venv holds what pyproject.toml asks for with those extras.
.stamps/%: pyproject.toml | .venv
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS_$*)]'
	@mkdir -p $(@D)
	@touch $@

.venv:
	$(PYTHON) -m venv $@
