# Bare `make` lists the commands: the text after `##` is their help.
.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin
PY := $(BIN)/python
STAMP := .venv/.installed
say = @printf '%s\n'

.PHONY: help install demo run test browser lint check coverage bench proof mutants docs lock clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

install: $(STAMP) ## put Python parts into .venv (hash-checked; runs by itself when something changed)

define FIND_PYTHON
found=; bare=; \
for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	"$$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || { bare=$$python; continue; }; \
	found=$$python; break; \
done; \
if [ -z "$$found" ] && [ -n "$$bare" ]; then \
	echo "$$bare cannot make virtual environments. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; \
fi; \
if [ -z "$$found" ]; then \
	echo "Aval needs Python 3.11 or newer and found none. Install it, or name it: make install PYTHON=/path/to/python3"; exit 1; \
fi
endef

$(PY):
	@$(FIND_PYTHON); \
	echo "Making .venv with $$("$$found" --version)"; \
	"$$found" -m venv .venv || { rm -rf .venv; exit 1; }

$(STAMP): requirements-dev.lock pyproject.toml | $(PY)
	$(say) "Installing the parts named in requirements-dev.lock, each checked against its hash (about a minute)"
	@$(PY) -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(say) "Installing Aval itself from this folder"
	@$(PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: $(STAMP) ## watch a TED, a Pix and a batch go from request to settled, on an Aval of its own
	@$(BIN)/aval demo

run: $(STAMP) ## start Aval on this machine: API, worker and PostgreSQL
	@$(BIN)/aval run

test: $(STAMP) ## run the tests (a real PostgreSQL is started for them)
	$(say) "Running the tests on two processes, each with a PostgreSQL of its own"
	@$(PY) -m pytest tests -q -n 2 -m "not proof and not browser"

browser: $(STAMP) ## run the tests of the approver's page in Chromium (screenshots in build/screenshots)
	@command -v chromium >/dev/null 2>&1 || [ -n "$$AVAL_TEST_CHROMIUM" ] || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1 \
		|| { echo "Installing Debian's Chromium"; apt-get install -q -y --no-install-recommends chromium >/dev/null || true; }
	$(say) "Running the tests in Chromium; they are skipped where there is none"
	@$(PY) -m pytest tests/e2e -q -m browser

lint: $(STAMP) ## check layout, style, types, imports, docstrings and tidiness
	$(say) "Layout (ruff format)"
	@$(BIN)/ruff format --check --quiet . || { echo "Mend it with: $(BIN)/ruff format ."; exit 1; }
	$(say) "Style (ruff check)"
	@$(BIN)/ruff check --quiet .
	$(say) "Types (mypy --strict)"
	@$(BIN)/mypy
	$(say) "Rooms and imports (import-linter)"
	@$(BIN)/lint-imports
	$(say) "Docstrings (interrogate)"
	@$(BIN)/interrogate src
	$(say) "Tidiness (tests/test_tidy.py)"
	@$(PY) -m pytest tests/test_tidy.py -q

check: lint test browser ## all that CI runs: lint, then the tests, then those in a browser

coverage: $(STAMP) ## run the tests and hold branch coverage to its bounds
	$(say) "Measuring branch coverage: 95 % of everything, 100 % of domain and operations"
	@$(PY) -m pytest tests -q -n 2 -m "not proof and not browser" --cov --cov-report=
	@$(BIN)/coverage report --fail-under=95
	@$(BIN)/coverage report --fail-under=100 --include='src/aval/domain/*,src/aval/operations/*'

bench: $(STAMP) ## measure throughput against pgbench doing the same writes
	@$(PY) -m bench

proof: $(STAMP) ## run the harnesses that hold the promises (minutes)
	$(say) "Running the proof harnesses; each prints the seed that replays it"
	@$(PY) -m pytest tests/proof -m proof

mutants: $(STAMP) ## plant each known bug and see that its harness finds it
	@$(PY) -m tests.proof.gate

docs: $(STAMP) ## write the generated pages (docs/errors.md and others) anew
	@$(PY) docs/generate.py

# One resolution serves Linux and macOS and every Python from 3.11; no index address is written down.
COMPILE = $(BIN)/uv pip compile pyproject.toml --extra server --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command "make lock" $(UPGRADE)

lock: $(STAMP) ## resolve both lock files anew (UPGRADE=--upgrade takes newer versions)
	$(say) "Writing requirements.lock and requirements-dev.lock"
	@$(COMPILE) -o requirements.lock
	@$(COMPILE) --group dev -c requirements.lock -o requirements-dev.lock

clean: ## remove caches and build output (keeps .venv and your data)
	$(say) "Removing caches and build output"
	@rm -rf build dist .coverage .coverage.* htmlcov .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find src tests bench docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
