SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODEL := .hasten/model/manifest.json
PROTOS := $(shell find protos -name '*.proto')
ARGS ?=

##@ Start here
.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/run.stamp $(MODEL) ## Set up, start the mesh, ingest real documents, ask, show where the time went
	$(BIN)/hasten demo $(ARGS)

.PHONY: up
up: $(VENV)/run.stamp $(MODEL) ## Start the mesh and leave it running
	$(BIN)/hasten up $(ARGS)

##@ Every day
.PHONY: test
test: $(VENV)/dev.stamp $(MODEL) ## Every test that needs nothing but Python (ARGS="-k name" chooses)
	$(BIN)/pytest $(ARGS)

.PHONY: check
check: $(VENV)/dev.stamp lint types layers stubs-fresh ## All that needs no running code

.PHONY: format
format: $(VENV)/dev.stamp ## Bring protos and code into their form
	$(BIN)/buf format -w
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format --quiet

.PHONY: lint
lint: $(VENV)/dev.stamp ## Style of the protos and of the code
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: types
types: $(VENV)/dev.stamp ## Types, strict
	$(BIN)/mypy

.PHONY: layers
layers: $(VENV)/dev.stamp ## Who may import whom
	$(BIN)/lint-imports

##@ Proofs and figures
.PHONY: prove
prove: $(VENV)/dev.stamp $(MODEL) ## Faults and timings that need a quiet machine
	$(BIN)/pytest -m prove --timeout 1200 -s $(ARGS)

.PHONY: bench
bench: $(VENV)/dev.stamp $(MODEL) ## Speed, as ratios within one run
	$(BIN)/python -m tests.bench $(ARGS)

.PHONY: traffic
traffic: $(VENV)/dev.stamp ## Make 20,000 questions for `hasten cache replay` (HASTEN_EVAL_DATA names the data)
	$(BIN)/python -m tests.support.zipf .hasten/traffic.jsonl $(ARGS)

##@ Delivered
.PHONY: wheel
wheel: $(VENV)/dev.stamp ## Build the wheel of typed stubs that a calling service installs
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist clients/python
	@ls dist/hasten_client-*.whl

.PHONY: manifests
manifests: $(VENV)/dev.stamp .venv-checkov/stamp ## Render every Kubernetes overlay and validate it, offline
	$(BIN)/python -m tests.manifests

##@ When something changes
.PHONY: model
model: $(MODEL) ## Build the encoder's ONNX graphs from the published weights

# The build looks at what is there and leaves it alone if it is whole. It is asked again when
# an adapter came, changed or went (then the folder is newer), or the builder itself changed.
$(MODEL): $(wildcard services/embedding/adapters services/embedding/adapters/*.safetensors \
  services/embedding/build/*.py) | $(VENV)/run.stamp
	$(BIN)/python -m services.embedding.build --out $(dir $(MODEL))
	touch $@

.PHONY: calibrate
calibrate: torch ## Fit the decision on reuse anew, from the data in HASTEN_EVAL_DATA (an hour)
	$(BIN)/python -m cli.calibrate $(ARGS)
	$(MAKE) model

.PHONY: torch
torch: $(VENV)/dev.stamp ## Add the reference encoder, for the parity tests and other models
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,torch]'

.PHONY: stubs
stubs: $(VENV)/dev.stamp ## Write gen/ anew from protos/
	rm -rf gen && mkdir -p gen/hasten && touch gen/hasten/py.typed
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I protos --python_out=gen \
	  --grpc_python_out=gen --mypy_out=quiet:gen --mypy_grpc_out=quiet,only_async:gen $(PROTOS)

# Compares with what is on disk, not with the last commit, so that it also speaks before one.
.PHONY: stubs-fresh
stubs-fresh: $(VENV)/dev.stamp ## Fail if gen/ is not what protos/ says
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && touch "$$fresh/py.typed" && \
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I protos \
	  --python_out="$$fresh" --grpc_python_out="$$fresh" --mypy_out=quiet:"$$fresh" \
	  --mypy_grpc_out=quiet,only_async:"$$fresh" $(PROTOS) && \
	diff -r -x __pycache__ -x py.typed "$$fresh/hasten" gen/hasten && echo "gen/ is fresh"

.PHONY: lock
lock: $(VENV)/pip.stamp ## Choose the newest versions and pin them in constraints.txt
	$(BIN)/pip install --quiet --upgrade --upgrade-strategy eager -e '.[dev,torch]'
	$(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//' > constraints.txt
	$(BIN)/python -m tests.images.locking

.PHONY: clean
clean: ## Remove everything that was built or stored here
	rm -rf $(VENV) .venv-checkov .hasten .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist

# Old pips choose old packages (anthropic 1.x on 3.11 for one), so pip comes first.
$(VENV)/pip.stamp:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hasten needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check pip==26.3
	touch $@

$(VENV)/run.stamp: $(VENV)/pip.stamp pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# Apart from ours: it pins what it needs.
.venv-checkov/stamp:
	$(PYTHON) -m venv .venv-checkov
	.venv-checkov/bin/pip install --quiet --disable-pip-version-check checkov==3.3.30
	touch $@
