# Six verbs (check, quick, test, fix, docs, run) and the longer ones: env, demo, torture, bench.
# `make demo` and `make test` work on a fresh clone with nothing but Python 3.11 to 3.14, make and a package index; on a
# Mac with Homebrew's libomp too, which LightGBM and XGBoost do not bring: brew install libomp

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# The demo keeps everything in its own folder, apart from your own queue.
DEMO     := $(CURDIR)/.demo
DEMO_ENV := CBI_STATE_DIR="$(DEMO)/state" CBI_V14_REPO="$(DEMO)/CBI-V14" CBI_CONFIG="$(DEMO)/config.toml" EXTERNAL_DRIVE=

# So does the mini week; Ctrl-C and another `make week` go on with it.
WEEK     := $(CURDIR)/.week
WEEK_ENV := CBI_STATE_DIR="$(WEEK)/state" CBI_V14_REPO="$(WEEK)/CBI-V14" CBI_CONFIG="$(WEEK)/config.toml" EXTERNAL_DRIVE=

HEAT_WAVE := CBI_PROFILE=governed-demo CBI_SAMPLE_S=0.5 CBI_SENSORS_SCRIPT="$(CURDIR)/schedules/heat-wave.jsonl"

.PHONY: help env demo week page run check style types compiled quick test test-of fix docs torture bench test-tensorflow clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-15s %s\n", $$1, $$2 }'

env: $(STAMP) ## Make the environment .venv from the pinned versions

$(STAMP): pyproject.toml constraints/lock.txt constraints/hashes.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 15) else "cbi-queue needs Python 3.11 to 3.14: for others some packages have no wheel. This is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12 env")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check --no-deps --require-hashes --requirement constraints/hashes.txt
	@# The rest has no hashes (constraints/README.md): torch, which may come from a disk, and cbi-queue itself.
	$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check --constraint constraints/lock.txt --editable '.[all,dev]'
	@# On every core; pip uses one. Files for other versions of Python do not compile, and are not imported.
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@

demo: env ## Build the real sample data, train the quickstart plan and a governed run, print leaderboard and story
	@mkdir -p "$(DEMO)" && touch "$(DEMO)/config.toml"
	@$(BIN)/python -c 'import sys; from cbi_queue.openmp import HOMEBREW; sys.platform != "darwin" or HOMEBREW.is_file() or print("LightGBM and XGBoost need the OpenMP library: brew install libomp. Without it they try the copy of torch.")'
	$(DEMO_ENV) $(BIN)/cbi-queue data sample
	$(DEMO_ENV) $(BIN)/cbi-queue run --page schedules/quickstart.yaml
	$(DEMO_ENV) $(BIN)/cbi-queue leaderboard
	@echo
	@echo "Now a real training in a scripted heat wave (schedules/heat-wave.jsonl): the governor slows it down, pauses it, resumes it."
	@mkdir -p "$(DEMO)/profiles" && cp schedules/governed-demo.toml "$(DEMO)/profiles/"
	$(DEMO_ENV) $(HEAT_WAVE) $(BIN)/cbi-queue run schedules/governed-demo.yaml
	$(DEMO_ENV) $(BIN)/cbi-queue governor why governed-lstm-1w --plot "$(DEMO)/governed-run.svg"
	@echo
	@echo "The status page of this demo:  make page   then open http://localhost:8000/status"
	@echo "Your own queue:                cbi-queue data sample; cbi-queue enqueue schedules/day1.yaml; cbi-queue service install"

week: env ## The whole week in minutes: its 65 models and all other jobs, made small, on the real sample data
	@mkdir -p "$(WEEK)" && touch "$(WEEK)/config.toml"
	$(WEEK_ENV) $(BIN)/cbi-queue data sample
	@# 1: a job failed. What the others left is shown all the same.
	@code=0; $(WEEK_ENV) $(BIN)/cbi-queue run schedules/mini-week || code=$$?; \
	test $$code -le 1 || exit $$code; \
	$(WEEK_ENV) $(BIN)/cbi-queue leaderboard; echo; \
	$(WEEK_ENV) $(BIN)/cbi-queue budget; echo; \
	ls -d "$(WEEK)"/CBI-V14/Models/vertex-ai/*/v* "$(WEEK)"/CBI-V14/Logs/forecasts/*; echo; \
	$(BIN)/python -m benchmarks.mini_week "$(WEEK)/state"; \
	exit $$code

page: env ## Serve the status page of the demo until Ctrl-C
	$(DEMO_ENV) $(BIN)/cbi-queue serve

run: env ## Run the daemon in this terminal, with your own settings
	$(BIN)/cbi-queue worker

# mypy takes most of the time, on one core; another has the rest meanwhile.
check: env ## Lint, format, types, import contracts
	@$(MAKE) --no-print-directory -j2 types style

style: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: env
	$(BIN)/mypy

# Else each worker of the tests compiles every file of them.
compiled: env
	@$(BIN)/python -m pytest --collect-only -q >/dev/null || true

# The tests start hundreds of processes, which would be slow without cached bytecode: cache it even where the
# environment says not to.
quick test test-of: export PYTHONDONTWRITEBYTECODE =

# A file stays with one worker: what its tests share, such as a trained installation, is made once.
SHARED := --dist loadfile --no-loadscope-reorder

quick: env ## The tests that start no process and train nothing long; under a minute on two cores
	$(BIN)/python -m pytest -n auto $(SHARED) -m 'not (process or slow or browser or tensorflow or torture)'

test-of: env ## The tests of one room: make test-of ROOM=jobs/data
	$(if $(ROOM),,$(error which room? make test-of ROOM=jobs/data))
	$(BIN)/python -m pytest --room=$(ROOM)

# One worker more than there are cores: many tests wait for a daemon or a trainer, with a core idle.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

test: env ## Every check and every test; under 20 minutes on two cores
	@$(MAKE) --no-print-directory -j2 types style compiled
	$(BIN)/python -m pytest -n $(WORKERS) $(SHARED)

fix: env ## Fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: env ## Regenerate the JSON Schema of day plans and the reference of verbs
	$(BIN)/cbi-queue plan schema > cbi_queue/day-plan.schema.json
	$(BIN)/python docs/make_reference.py

test-tensorflow: env ## Make the TensorFlow runtime below .runtimes (1.7 GB) and run the tests of that backend
	CBI_STATE_DIR="$(CURDIR)/.runtimes" CBI_CONFIG= $(BIN)/cbi-queue runtime install tensorflow
	CBI_TEST_TENSORFLOW_PYTHON="$(CURDIR)/.runtimes/runtimes/tensorflow/bin/python" \
		$(BIN)/python -m pytest tests/integration/test_keras_backend.py

torture: env ## Long storms and soaks: 30 kills (STORM_KILLS, STORM_MODELS=all, STORM_SEED), a minute of SIGSTOP
	$(BIN)/python -m pytest -m torture

bench: env ## Measure; both sides of a ratio are measured in the same run
	$(BIN)/python -m benchmarks

clean: ## Remove the data of demo and week, and what tools left behind; the environment stays
	rm -rf .demo .week .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
