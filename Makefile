# Everything a person does in a checkout: `make demo` to see it, `make test` to check it.

PYTHON ?= python3
PORT ?= 5000
MINUTES ?= 5
CLIENTS ?= 1000
VENV := .venv
BIN := $(VENV)/bin
# What an environment is made from: when one of these is newer, it is brought up to date.
SOURCES := setup.cfg setup.py pyproject.toml js/package-lock.json
DEMO_NEEDS := $(wildcard example_flask/requirements.txt)
ROLLUP := node_modules/.bin/rollup -c --silent
SHELL := bash
.SHELLFLAGS := -o pipefail -c
# The tests start hundreds of processes, each of which would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo docs test test-js test-pythons lint format build bench chaos soak clean node system

help:
	@echo "make demo    run the example on http://127.0.0.1:$(PORT)/ (PORT=... for another port)"
	@echo "make test    install everything, lint, and run all tests"
	@echo "make lint    ruff and mypy alone; make format applies ruff's format"
	@echo "make docs    the documentation's site, in docs/_build/"
	@echo "make build   the sdist and the wheel, in dist/"
	@echo "make chaos   try to break the guarantees for MINUTES=$(MINUTES), with random seeds"
	@echo "make soak    replace the workers of a server with CLIENTS=$(CLIENTS) on it"
	@echo "make bench   measure this project beside its peers"
	@echo "make clean   remove whatever make has made"

# While it runs, what is edited in js/src/ is what is served.
demo: $(VENV)/.demo js/dist/.complete
	@echo
	@echo "  Open http://127.0.0.1:$(PORT)/ in two windows. Ctrl-C stops it."
	@echo
	@(cd js && exec $(ROLLUP) --watch) & exec $(BIN)/flask --app example_flask run --port $(PORT)

# The last one is pytest: a closing line of its ends the output.
test: system $(VENV)/.dev js/dist/.complete lint test-js
	{ tools/test-pythons $(BIN)/python && tools/test-parts $(BIN)/python; } | tools/side-by-side

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict backboneio example_flask docs/conf.py

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test-js: js/node_modules/.complete
	cd js && npm test

# The tests that need no browser, under every other supported Python that the machine has.
test-pythons: $(VENV)/.dev
	tools/test-pythons $(BIN)/python | tools/side-by-side

docs: $(VENV)/.dev
	$(BIN)/python -m sphinx -q -W --keep-going -d docs/_build/doctrees docs docs/_build/html
	@echo "open docs/_build/html/index.html"

build: $(VENV)/.dev
	$(BIN)/python -m build

bench: $(VENV)/.dev js/dist/.complete
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/journal.py

chaos: $(VENV)/.dev js/dist/.complete
	FUZZ_SECONDS=20 FUZZ_SEED=$$(date +%s) $(BIN)/pytest -q tests/socketio/test_fuzz.py -k nothing_is_left
	$(BIN)/python -m tests.chaos --minutes $(MINUTES)

soak: $(VENV)/.dev
	$(BIN)/python -m tests.chaos.restart --clients $(CLIENTS)

clean:
	rm -rf .venv .venv-3.* build dist docs/_build *.egg-info backboneio/client js/node_modules js/dist
	rm -rf .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

node:
	@tools/system-packages node

system:
	@tools/system-packages node chromium postgresql mariadb proxies systemd

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python $(SOURCES) $(DEMO_NEEDS) js/node_modules/.complete
	$(BIN)/python -m pip install -q -e . $(addprefix -r ,$(DEMO_NEEDS))
	@touch $@

$(VENV)/.dev: $(BIN)/python $(SOURCES) $(DEMO_NEEDS) js/node_modules/.complete
	$(BIN)/python -m pip install -q -e '.[dev]' $(addprefix -r ,$(DEMO_NEEDS))
	@touch $@ $(VENV)/.demo

js/node_modules/.complete: js/package-lock.json | node
	cd js && npm ci --ignore-scripts --no-audit --no-fund </dev/null
	@touch $@

js/dist/.complete: js/node_modules/.complete js/rollup.config.mjs js/package.json $(wildcard js/src/*.js)
	cd js && $(ROLLUP)
	@touch $@
