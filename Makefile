# `make demo` and `make test` do everything on a fresh machine with Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo control test check test-slow bench clean help
help:
	@echo "make demo       install and watch a real face turn into a forged one (DEMO_OUT=demo-out)"
	@echo "make control    the same without a forgery: no alert"
	@echo "make test       install, lint, types, every test"
	@echo "make test-slow  soaks, loops and replays"
	@echo "make bench      speed of the experts and of a live feed on this machine"

DEMO_OUT ?= demo-out
demo: $(VENV)/demo.stamp
	$(BIN)/stream-detect demo --out $(DEMO_OUT)

control: $(VENV)/demo.stamp
	$(BIN)/stream-detect demo --control --out $(DEMO_OUT)

test: $(VENV)/dev.stamp
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/check

check: test

test-slow: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m slow --timeout 1800

bench: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/experts.py
	$(BIN)/python benchmarks/watch_rtsp.py

$(VENV)/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "stream-detect needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) --version 2>&1); name another: make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	touch $@

# torch goes first and pinned: any other version would bring gigabytes of CUDA libraries.
$(VENV)/demo.stamp: $(VENV)/python.stamp pyproject.toml constraints.txt
	$(INSTALL) torch
	$(INSTALL) --editable ".[demo]"
	touch $@

$(VENV)/dev.stamp: $(VENV)/python.stamp pyproject.toml constraints.txt
	$(INSTALL) torch
	$(INSTALL) --editable ".[demo,train,dev]"
	touch $@ $(VENV)/demo.stamp

clean:
	rm -rf $(VENV) build *.egg-info
