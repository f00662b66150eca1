# `make` lists every command. Each makes the environment it needs, once: .venv/<layer> is as new as its lock files.
PYTHON ?= python3.11
SERVE := .venv/serve
TEST := .venv/test
TRAIN := .venv/train
ANNOTATION := .venv/annotation
LABEL_STUDIO := .venv/label-studio
PEERS := .venv/peers
PIP := bin/python -m pip --disable-pip-version-check --quiet install
# Before 23.3, pip wants the newest release of what another package names with extras, whatever the lock file pins.
define environment
	$(PYTHON) -m venv $(1)
	$(1)/$(PIP) pip==25.3
endef

.DEFAULT_GOAL := help
.PHONY: help run train-env annotation-env label-studio test test-all lint fix bench bench-peers lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(SERVE)/.stamp ## serve the embedded model on http://127.0.0.1:8000
	$(SERVE)/bin/python -m semantic_service

test: $(SERVE)/.stamp $(TEST)/.stamp ## the quick tests (no torch; under 3 minutes)
	$(TEST)/bin/python -m pytest -m "not slow"

test-all: $(SERVE)/.stamp $(TRAIN)/.stamp $(LABEL_STUDIO)/.stamp ## every test: trains, exports, starts servers, kills and resumes
	$(TRAIN)/bin/python -m pytest

lint: $(TRAIN)/.stamp ## format, rules, types, import contracts
	$(TRAIN)/bin/ruff format --check .
	$(TRAIN)/bin/ruff check .
	$(TRAIN)/bin/mypy
	$(TRAIN)/bin/lint-imports --no-cache

fix: $(TRAIN)/.stamp ## format, and mend what can be mended by itself
	$(TRAIN)/bin/ruff format .
	$(TRAIN)/bin/ruff check --fix .

bench: $(SERVE)/.stamp ## measure engine and HTTP speed in one run (under 10 minutes)
	$(SERVE)/bin/python -m tests.bench

bench-peers: $(ANNOTATION)/.stamp ## measure beside what others would pick, with a picture (under 40 minutes; installs 7 frameworks into .venv/peers)
	$(ANNOTATION)/bin/python -m tests.bench.peers --environments $(PEERS) --plot docs/peers.png

train-env: $(TRAIN)/.stamp ## only make the training environment: .venv/train/bin/python -m training ...

annotation-env: $(ANNOTATION)/.stamp ## only make the annotators' environment: .venv/annotation/bin/python -m annotation ...

label-studio: $(LABEL_STUDIO)/.stamp ## run a Label Studio on http://127.0.0.1:8080, its data in var/label-studio
	set -a; . deploy/label-studio.env; LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK=false; \
	$(LABEL_STUDIO)/bin/label-studio start --no-browser --internal-host 127.0.0.1 --data-dir var/label-studio

lock: $(TRAIN)/.stamp ## pin every requirement anew
	sh requirements/lock.sh $(TRAIN)/bin/pip-compile

clean: ## remove the environments
	rm -rf .venv

$(SERVE)/.stamp: requirements/serve.txt
	$(call environment,$(SERVE))
	$(SERVE)/$(PIP) --require-hashes -r requirements/serve.txt
	@touch $@

$(TEST)/.stamp: requirements/test.txt
	$(call environment,$(TEST))
	$(TEST)/$(PIP) --require-hashes -r requirements/test.txt
	@touch $@

$(TRAIN)/.stamp: requirements/train.txt requirements/dev.txt
	$(call environment,$(TRAIN))
	$(TRAIN)/$(PIP) -r requirements/train.txt -r requirements/dev.txt
	@touch $@

$(ANNOTATION)/.stamp: requirements/annotation.txt
	$(call environment,$(ANNOTATION))
	$(ANNOTATION)/$(PIP) --require-hashes -r requirements/annotation.txt
	@touch $@

$(LABEL_STUDIO)/.stamp: requirements/label-studio.txt
	$(call environment,$(LABEL_STUDIO))
	$(LABEL_STUDIO)/$(PIP) --require-hashes -r requirements/label-studio.txt
	@touch $@
