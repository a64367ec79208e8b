# The two commands a newcomer needs are `make demo` and `make test`; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# One list for all platforms and for Python from the oldest that pyproject.toml allows. Versions stay as they are pinned.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-emit-index-url \
  --custom-compile-command "make lock" $(UPGRADE)

.DEFAULT_GOAL := help
.PHONY: help compile demo docs notebooks test test-compiled test-long soak drill coverage check fix bench bench-check bench-peers lock clean run-deps dev-deps deploy-deps

# The tests that measure the coverage: those that need core, replica and storage, without the slow ones.
COVERAGE_TESTS := tests/core tests/fixtures tests/foundation tests/replica tests/storage tests/recovery tests/pitfalls tests/node/peers tests/sim/faults
COVERED := qcore/core/*,qcore/replica/*,qcore/storage/*

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "qcore needs Python 3.11 or newer, and %s is %d.%d: set PYTHON=python3.11 (or newer)" % (sys.executable, v[0], v[1]))'
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run-deps: $(VENV)/.created requirements/build.txt requirements/run.txt pyproject.toml
	@echo "installing pinned dependencies ..."
	@$(PIP) -r requirements/build.txt -r requirements/run.txt
	@$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.dev-deps: $(VENV)/.run-deps requirements/dev.txt
	@echo "installing pinned development tools ..."
	@$(PIP) -r requirements/dev.txt
	@touch $@

run-deps: $(VENV)/.run-deps ## set up .venv with what qcore needs to run
dev-deps: $(VENV)/.dev-deps ## set up .venv with the tools for tests and documentation too

deploy-deps: $(VENV)/.dev-deps ## add the tools that check the files of deploy/
	@$(PIP) -r requirements/deploy.txt

demo: $(VENV)/.run-deps ## a simulated partition, then a real cluster that loses its leader
	@$(BIN)/qcore demo

compile: $(VENV)/.dev-deps ## compile the hot modules in place (some minutes; needs a C compiler)
	@QCORE_COMPILE=1 $(BIN)/python setup.py --quiet build_ext --inplace

test: $(VENV)/.dev-deps ## the test suite (about 12 minutes on 2 cores; the aim is 8)
	@$(BIN)/python -m pytest -n 2 -m "not long"

test-compiled: compile ## the test suite on the compiled build; prints how many tests need the pure one
	@QCORE_PURE=0 $(BIN)/python -m pytest -n 2 -m "not long"

test-long: $(VENV)/.dev-deps ## every test, the long campaigns too
	@$(BIN)/python -m pytest -n 2 --timeout 3600

SOAK = $(if $(LEADER_KILLS),--nodes 3 --leader-kills $(LEADER_KILLS),--minutes $(or $(MINUTES),30))
soak: $(VENV)/.dev-deps ## real nodes under load and faults for MINUTES=30, or LEADER_KILLS=1000; report in out/soak.md
	@mkdir -p out
	@$(BIN)/python -m tests.soak $(SOAK) --seed $(or $(SEED),1) --report out/soak.md

drill: $(VENV)/.dev-deps ## each recipe, or RECIPE=lock, with FAULTS=100 faults of real workers and nodes
	@$(BIN)/python -m tests.recipes.drill --recipe $(or $(RECIPE),all) --faults $(or $(FAULTS),100) --seed $(or $(SEED),1)

coverage: $(VENV)/.dev-deps ## branch coverage of qcore; fails below 100 % of core, replica and storage
	@rm -rf out/coverage && mkdir -p out/coverage
	@$(BIN)/coverage run -m pytest -n 2 -m "not long and not process" $(COVERAGE_TESTS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report
	@$(BIN)/coverage report --include="$(COVERED)" --fail-under=100

check: $(VENV)/.dev-deps ## lint, format, types, import rules, words, layout (reads only)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy docs/hooks
	@$(BIN)/python -m pytest tests/test_architecture.py tests/test_words.py tests/test_layout.py

fix: $(VENV)/.dev-deps ## let ruff rewrite what it can, and renew the pages made from the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/python -m tests.settings.page
	@QCORE_PURE=1 $(BIN)/python -m tests.docs.wire_reference
	@$(BIN)/python -m tests.docs.scenario_page
	@$(BIN)/python -m tests.deploy.metrics_reference

notebooks: $(VENV)/.dev-deps ## run the notebooks, and renew their outputs
	@$(BIN)/python -m tests.notebooks

docs: $(VENV)/.dev-deps ## the documentation site, to read without a server
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs --quiet build --strict
	@echo "$(CURDIR)/out/docs/index.html"

bench: $(VENV)/.run-deps ## the main figures, beside the peers that are installed; KEEP=1 adds them to the history
	@$(BIN)/python -m benchmarks core sim cluster peers $(if $(KEEP),--keep)

bench-check: $(VENV)/.run-deps ## fail if this checkout is over 15 % slower than the version before, or than REF=...
	@$(BIN)/python -m benchmarks.record.check $(REF) $(if $(BUILD),--build "$(BUILD)")

# PySyncObj runs on the Python of qcore; the simulators need a newer one. Nothing here is needed to run qcore.
PEERS := out/bench-peers
PEER_PYTHON ?= $(firstword $(foreach version,3.14 3.13,$(shell command -v python$(version))))
bench-peers: ## install what `make bench` compares qcore with, into out/bench-peers
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check "pysyncobj==0.3.17"
	@if [ -n "$(PEER_PYTHON)" ]; then $(PEER_PYTHON) -m venv $(PEERS)/simulators && \
	  $(PEERS)/simulators/bin/python -m pip install --quiet --disable-pip-version-check "simloop==0.2.2" "simloom==0.5.0" pytest; \
	  else echo "simloop and simloom need Python 3.13: set PEER_PYTHON=..."; fi
	@command -v etcd > /dev/null || echo "etcd is not installed: apt-get install etcd-server"
	@command -v go > /dev/null || echo "Go is not installed: apt-get install golang-go golang-etcd-server-dev"

lock: $(VENV)/.dev-deps ## pin what pyproject.toml lists; UPGRADE=--upgrade takes the newest versions
	@$(COMPILE) --group build --output-file requirements/build.txt
	@$(COMPILE) pyproject.toml --output-file requirements/run.txt
	@$(COMPILE) pyproject.toml --extra testing --extra uvloop --extra notebook --extra web --extra gateway --extra dask --extra mdns --extra otel --extra pandas --extra polars --group dev \
	  --constraints requirements/run.txt --output-file requirements/dev.txt
	@$(COMPILE) --group deploy --constraints requirements/dev.txt --output-file requirements/deploy.txt

clean: ## remove .venv and what runs left behind
	rm -rf $(VENV) build out .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find qcore benchmarks -name '*.so' -delete; rm -f qcore_compiled__mypyc*.so qcore/compiled.json
