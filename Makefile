# Each target makes .venv with the tested set of packages (constraints.txt) and runs; a second run starts at once.
#   make demo       a real face that turns into a forged one, watched live: no camera, no network
#   make control    the same without a forgery: there must be no alert
#   make test       what CI runs: format, lint, types, tests
#   make test-slow  soaks, loops and replays; the report goes to benchmarks/results/slow/
#   make bench      every speed that is published, measured again on this machine: a quarter of an hour
#   make robustness   forgeries made of your own real footage, in eight channels: make robustness FOOTAGE=dir
#   make accuracy   docs/accuracy.md measured again, where the footage is: make accuracy DATA=../shared/data
# Another Python: make test PYTHON=python3.12. More arguments: make demo ARGS="--out here".

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := demo

NEWEST = for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done
PYTHON ?= $(shell $(NEWEST))
VENV := .venv
PIP_INSTALL := $(VENV)/bin/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt
ARGS ?=
DATA ?= ../shared/data

export OMP_WAIT_POLICY := PASSIVE
export PIP_NO_INPUT := 1

.PHONY: demo control test test-slow bench accuracy robustness clean

demo: $(VENV)/.ready-demo
	$(VENV)/bin/stream-detect demo $(ARGS)

control: $(VENV)/.ready-demo
	$(VENV)/bin/stream-detect demo --control $(ARGS)

test: $(VENV)/.ready-test
	scripts/check $(ARGS)

test-slow: $(VENV)/.ready-test
	mkdir -p benchmarks/results/slow
	$(VENV)/bin/python -m pytest -m slow -p no:cacheprovider --durations=0 $(ARGS) \
		| tee benchmarks/results/slow/$$(date -u +%Y-%m-%d).txt

bench: $(VENV)/.ready-test $(VENV)/opencv4
	$(VENV)/bin/python -m benchmarks.all $(ARGS)

accuracy: $(VENV)/.ready-test
	@$(VENV)/bin/python -m benchmarks.accuracy $(DATA) $(ARGS)

robustness: $(VENV)/.ready-test
	@test -n "$(FOOTAGE)" || { echo "name a folder of real footage: make robustness FOOTAGE=dir" >&2; exit 2; }
	@$(VENV)/bin/python -m benchmarks.robustness "$(FOOTAGE)" $(ARGS)

clean:
	rm -rf $(VENV) build *.egg-info demo-out

$(VENV)/.ready-demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP_INSTALL) -e '.[demo]'
	touch $@

$(VENV)/.ready-test: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP_INSTALL) -e '.[demo,train,dev]'
	touch $@ $(VENV)/.ready-demo

$(VENV)/opencv4: $(VENV)/bin/python  # the last OpenCV whose main package has the Haar cascade, for benchmarks.peers
	$(VENV)/bin/python -m pip install --disable-pip-version-check -q --no-deps --target $@ opencv-python-headless==4.13.0.92

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "stream-detect needs Python 3.11 or newer, and none was found:" \
		"install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "stream-detect needs Python 3.11 or newer; $(PYTHON) is" \
		"$$("$(PYTHON)" --version 2>&1 || true): name another with PYTHON=" >&2; exit 2; }
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "could not make $(VENV); on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }
