# make demo and make test do everything on a machine that has only Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := 0.13.9
EXTRAS := --extra train --extra tune --extra export --extra serve --extra aws --extra peers --extra cpu \
  --extra ray --extra heic --extra pretrained --extra wandb --extra service
CODE := augrank handlers training export simulation benchmarks examples service tests

# Two workers, each with whole modules, in the order of tests/conftest.py: long ones first.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install format check browser test test-fast screenshots bench demo demo-classify service airflow-env lock wheel clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

install: $(VENV)/.installed ## Make the environment: pinned packages and this project, editable

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(f"expected Python 3.11 or newer, got {sys.version.split()[0]}: make PYTHON=/path/to/python3.11 ...") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV)
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

format: install ## Rewrite the code in the house format
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

check: install ## Lint, format, types and rules of imports, without changing anything
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

browser: install ## Find a Chromium, or fetch Debian's into build/browser (400 MB), for the tests of pages
	$(BIN)/python -m tests.support.browser

test: install browser ## Run the whole suite: real TorchServe, real archives (20 to 75 minutes on 2 cores)
	$(PYTEST)

test-fast: install ## Run the tests that need neither a server nor training (1 minute on 2 cores)
	$(PYTEST) -m "not slow"

screenshots: browser build/demo/dist/bundle build/demo-classify/dist/bundle ## Take docs/images/service_*.png
	$(BIN)/python -m tests.service.browser.screenshots

bench: install build/demo/dist/bundle ## Time the request pipeline by stage on this machine
	$(BIN)/python -m benchmarks pipeline build/demo/dist/bundle --out build/bench

build/demo/dist/bundle:
	$(MAKE) demo

build/demo-classify/dist/bundle:
	$(MAKE) demo-classify

demo: install ## Train, export, serve and ask for a recommendation, with the example catalogue
	$(BIN)/python -m examples.demo

demo-classify: install ## Render review photos, train, export with rules, and inspect a day
	$(BIN)/python -m examples.demo_classify

# The classifier of demo-classify is served, too, once it is there.
service: install build/demo/dist/bundle ## Serve the demos' bundles: pages, cache, fixes and history
	$(BIN)/python -m service $$(ls -d build/demo/dist/bundle build/demo-classify/dist/bundle 2>/dev/null) \
	  --catalogue examples/catalogue

AIRFLOW := build/airflow
airflow-env: $(AIRFLOW)/.installed ## Make an environment with Airflow alone, in build/airflow

$(AIRFLOW)/.installed: examples/airflow/requirements.lock | install
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(AIRFLOW)
	$(BIN)/uv pip sync --quiet --python $(AIRFLOW)/bin/python examples/airflow/requirements.lock
	@touch $@

COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes \
  --no-annotate --no-header --quiet
lock: ## Compile the locks again from pyproject.toml (hashes, no hosts)
	$(COMPILE) pyproject.toml $(EXTRAS) --group dev --output-file requirements.lock
	$(COMPILE) pyproject.toml --extra cpu --extra serve --constraint requirements.lock \
	  --output-file export/container/requirements.lock
	$(COMPILE) pyproject.toml --extra cpu --extra service --constraint requirements.lock \
	  --output-file service/container/requirements.lock
	$(COMPILE) pyproject.toml --extra cpu --extra service --extra train --extra tune --extra export \
	  --extra aws --constraint requirements.lock --output-file service/container/retrain.lock
	$(COMPILE) tests/support/sagemaker/toolkit.in --output-file tests/support/sagemaker/toolkit.lock
	$(COMPILE) tests/support/sagemaker/training_toolkit.in \
	  --output-file tests/support/sagemaker/training_toolkit.lock
	$(COMPILE) examples/airflow/requirements.in --output-file examples/airflow/requirements.lock

wheel: install ## Build the wheel (augrank alone) into build/wheel
	$(BIN)/python -m build --wheel --no-isolation --outdir build/wheel .

clean: ## Remove everything that was built here
	rm -rf build dist $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
