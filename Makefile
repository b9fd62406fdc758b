# Everything a developer needs; `make` alone lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODEL := efficientnetlite0
DEMO := demo_output

.DEFAULT_GOAL := help

.PHONY: help
help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.run ## Explain sample_images/ with real weights (needs no network but the package registry)
	$(BIN)/gradcam-cli explain sample_images -o $(DEMO) --model $(MODEL)
	$(BIN)/gradcam-cli explain sample_images/cat_and_coffee.jpg -o $(DEMO)/two_classes --model $(MODEL) --class tabby --class espresso
	@echo "Look at $(DEMO)/*.overlay.jpg; each has a .json beside it."

.PHONY: test
test: $(VENV)/.dev ## Run the tests, without the slow ones
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "not (slow or ray)"

.PHONY: test-slow
test-slow: $(VENV)/.dev ## Run the slow tests: other architectures of keras.applications, Ray, S3, the wheel
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "slow or ray"

.PHONY: test-all
test-all: test test-slow ## Run all tests, as CI does

.PHONY: check
check: $(VENV)/.dev ## Lint, check the formatting, check the types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: bench
bench: $(VENV)/.dev ## Measure images a second against what the machine could do at best (some minutes)
	$(BIN)/python -m benchmarks

.PHONY: peers
peers: $(VENV)/.dev ## Measure the libraries people would use instead (downloads gigabytes, takes ten minutes)
	$(BIN)/python -m benchmarks.peers

.PHONY: stress
stress: $(VENV)/.dev ## Kill it, fill its disk, feed it faults (some ten minutes), and fuzz it for three
	$(BIN)/python tests/stress/faults.py
	$(BIN)/python tests/stress/inputs.py
	$(BIN)/python tests/stress/fuzz_decoder.py --minutes 1
	$(BIN)/python tests/stress/fuzz_preflight.py --minutes 1
	$(BIN)/python tests/stress/fuzz_exchange.py --guarded --minutes 1

.PHONY: reference
reference: $(VENV)/.dev ## Write docs/commands.md out of the program's own help
	$(BIN)/python -m tools.command_reference

.PHONY: docs
docs: $(VENV)/.docs ## Build the documentation into site/; every warning is an error
	$(BIN)/python -m tools.site
	@echo "Open site/index.html in a browser."

.PHONY: format
format: $(VENV)/.dev ## Format the code and sort imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: clean
clean: ## Remove the environment, caches and the demo's output
	rm -rf $(VENV) .peers $(DEMO) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist site *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "gradcam-cli needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.run

$(VENV)/.docs: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@ $(VENV)/.run
