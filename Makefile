# Every target does the set-up that it needs; `make demo` and `make test` are meant for a fresh checkout.
#
#   make setup PYTHON=/path/to/python3.11       another interpreter
#   make setup TORCH_ARGS='--index-url URL'     another build of torch (README, "Run it")

PYTHON     ?= $(shell command -v python3.11 || command -v python3)
TORCH_ARGS ?=
VENV       := .venv
BIN        := $(VENV)/bin
STAMP      := $(VENV)/.stamp

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Ray sends usage figures unless it is told not to before it starts.
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: setup setup-browser demo test test-ray test-rest test-all lint format bench fuzz clean
.DELETE_ON_ERROR:

setup: $(STAMP)

# torch first: once its build is there, nothing that follows asks for another one. setuptools comes with it, so that the
# project itself is built with a pinned backend (no isolated build that fetches the newest), and setuptools-scm, without
# which bagit, of which there is no wheel, is built as version 0.0.0 and refused.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is wanted, '$(PYTHON)' is not: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) || \
	    { $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install pip; }
	$(BIN)/python -m pip install -q -c constraints.txt $(TORCH_ARGS) torch==2.13.0 setuptools setuptools-scm
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

# Chromium, in which the tests look at the report's page. Debian and root only; elsewhere it says so, and those tests
# skip themselves and say so too.
setup-browser:
	@if command -v chromium >/dev/null && command -v chromedriver >/dev/null; then echo "chromium is here"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
	      chromium chromium-driver fonts-dejavu-core; } >/dev/null || echo "chromium cannot be installed: its tests will skip" >&2; \
	else echo "no chromium, and no apt-get as root to install it: its tests will skip" >&2; fi

demo: setup
	$(BIN)/reelmend demo --out demo-out

# Those that start Ray wait for its processes most of the time: meanwhile the others use the second core.
test: setup
	@echo "two halves side by side; each tells what came when it has ended, after some ten minutes on two cores"
	@$(MAKE) --no-print-directory -j2 --output-sync=target test-rest test-ray

test-rest: setup
	$(BIN)/python -m pytest -m "not slow and not cluster"

test-ray: setup
	$(BIN)/python -m pytest -m "not slow and cluster"

test-all: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/reelmend bench --out docs/performance.md

# The property tests again, with many more and each time other examples; and 500 broken films.
fuzz: setup
	$(BIN)/python -m pytest -m "fuzz or (hypothesis and not slow)" -p tests.fuzz --hypothesis-profile=fuzz --timeout=3600

# All that the targets made, except the .venv.
clean:
	rm -rf build dist *.egg-info demo-out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find pipeline jobs configs tests -name __pycache__ -type d -prune -exec rm -rf {} +
