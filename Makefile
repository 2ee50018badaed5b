# `make` alone shows the targets. PYTHON=python3.12 chooses the interpreter, GPU=1 adds CUDA libraries.
PYTHON ?= python3
BIN := .venv/bin
# More files at a time than cores, as tests also wait; tests/conftest.py begins with the longest.
SPREAD := --dist loadfile --no-loadscope-reorder

.PHONY: help setup demo test machines proofs check lint bench bench-compare docs lock
help:
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## make the environment .venv (the other targets do it too when it is missing)
	@command -v $(PYTHON) >/dev/null || { echo "cxrflow setup: no $(PYTHON) found: install Python 3.10 to 3.13" >&2; exit 2; }
	@$(PYTHON) pipeline/setup/bootstrap.py $(if $(GPU),--gpu)

demo: setup ## synthetic X-rays through the whole pipeline, from ingest to a pushed model
	@$(BIN)/cxrflow run --profile demo --jobs 2

test: setup ## all tests but those of machines and proofs, three files at a time; TESTS="-k name" chooses
	@$(BIN)/python -m pytest -n 3 $(SPREAD) $(TESTS)

machines: setup ## the device's scripts in TensorFlow 2.7, on aarch64 and Python 3.6 (downloads 1 GB)
	@$(BIN)/python -m pytest -m machines $(TESTS)

proofs: setup ## the GPU profiles' networks on a few real X-rays: 512 pixels, and 32 learned by heart (an hour)
	@$(BIN)/python -m pytest -m proofs $(TESTS)

check: lint ## lint, and the tests that are quick and need no TensorFlow
	@$(BIN)/python -m pytest -q -n 4 $(SPREAD) -m "not tf and not slow and not e2e"

lint: setup ## ruff, vermin (the device has Python 3.6), mypy, and which room may import which
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/vermin --quiet --no-tips --violations --target=3.6- edge schema/portable $(wildcard pipeline/setup/*.py)
	@$(BIN)/mypy
	@$(BIN)/mypy --config-file .ci/mypy-edge.ini
	@PYTHONPATH=.venv/src $(BIN)/lint-imports

bench: setup ## the benchmarks, one JSON line a figure
	@$(BIN)/python -m tests.bench

bench-compare: setup ## which ratios fell by 20 % against docs/results.json; RESULTS=FILE: of what `make bench` printed
	@$(BIN)/python -m tests.bench.compare $(RESULTS)

docs: setup ## figures of docs/results.json into README and docs/; RESULTS=FILE: first what `make bench` printed
	@$(BIN)/python -m tests.bench.docs $(if $(RESULTS),--take $(RESULTS))

lock: setup ## resolve pyproject.toml anew into requirements.lock, keeping pins that still fit
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes \
	    --extra pipeline --extra dev --extra env --no-emit-index-url --custom-compile-command "make lock" \
	    pyproject.toml --output-file requirements.lock
