# Two commands: `make demo` runs the main job end to end, `make test` passes the tests. Each sets up what is missing.
PYTHON ?= python3
BIN := .venv/bin
.PHONY: help setup demo test test-faults test-compose check bench lock clean

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

setup: ## the virtual environment, the locked dependencies, a Chromium
	@$(PYTHON) scripts/setup

demo: setup ## a chat message becomes a reviewed pull request, on this machine; writes var/demo/
	@$(BIN)/factoryctl demo

# a machine under load can make one of the tests of kills and times fail once; what ran twice is counted in the summary.
# The files with whole factories begin, and the many small ones fill up what is left of each process.
test: setup ## every test that needs no account, no internet and no container engine
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && TMPDIR=$$tmp $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --reruns 1 $(ARGS)

test-faults: setup ## accidents on whole factories: killed owners, servers away, lost nodes; LONG=1 for more of them
	@tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
	  TMPDIR=$$tmp LONG=$(LONG) $(BIN)/python -m pytest tests/faults -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup ## format, lint, types, import arrows, generated files, lock
	@scripts/check

test-compose: setup ## the composed stack in containers, where an engine can be had; writes var/compose/
	@scripts/test-compose $(ARGS)

bench: setup ## interleaved, as ratios; BENCH=name for one; writes var/bench/
	@$(BIN)/python tests/bench/run.py $(BENCH)

lock: setup ## writes requirements.lock anew
	@scripts/lock

clean: ## removes what was made here: .venv and var
	rm -rf .venv var
