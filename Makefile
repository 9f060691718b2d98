# Everything runs from .venv, which the lock file defines; uv is used from the PATH or, where it is absent, put into .uv/.
PROFILE ?= quick
SEEDS ?= 1
PYTHON ?= python3
ifdef JOBS
JOBS_OPTION = --jobs $(JOBS)
endif

UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := .venv/bin/python
PYTEST := $(RUN) -m pytest -q -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# A busy machine can be too slow for a browser test: it is tried again, and the summary says so (R). In the explorer
# nothing but lateness is: there, what goes wrong only once is what is looked for.
BROWSER := $(RUN) -m pytest -q -rfER --durations 5 --reruns 2
LAB := .venv/bin/jupyter lab --notebook-dir notebooks $(if $(filter 0,$(shell id -u)),--allow-root)
export UV_PYTHON_DOWNLOADS = never
export PYTHONUNBUFFERED = 1
unexport VIRTUAL_ENV PYTHONPATH

.PHONY: help reproduce test attack test-gpu test-browser lint tables notebooks lab explorer site clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

reproduce: .venv/.ready ## train the quick profile afresh and compare it with the published records (PROFILE=, SEEDS=, JOBS=)
	@$(RUN) -m rdlib reproduce $(PROFILE) --seeds $(SEEDS) $(JOBS_OPTION)

test: lint ## lint, types, unit tests, and the notebooks against their committed outputs
	@echo "unit tests and notebooks (nbval runs every cell and compares the outputs), the longest first"
	@$(PYTEST) --nbval --nbval-current-env tests notebooks

attack: .venv/.ready ## bad input, kills, damaged files, full disks, eight sweeps at once: all that `make test` samples (half an hour)
	@RDLIB_ATTACK=whole OMP_NUM_THREADS=1 $(PYTEST) --dist load tests/faults

test-gpu: ## what only a GPU answers; without .venv by PYTHON, which needs torch and pytest
	@$(if $(wildcard .venv/.ready),$(RUN),$(PYTHON)) -m pytest -q -rs --durations 5 tests/gpu

test-browser: .venv/.browser ## every notebook and the explorer in JupyterLab, driven in a real Chromium
	@chromium=$$($(RUN) tests/browser/chromium.py) && export RDLIB_CHROMIUM="$$chromium" && \
		echo "every notebook, two at a time" && OMP_NUM_THREADS=1 $(BROWSER) -n 2 --maxschedchunk 1 tests/browser/test_notebooks.py && \
		echo "the explorer, alone: it is timed" && $(BROWSER) --only-rerun 'TooLate|TimeoutError' -s tests/browser/test_explorer.py

lint: .venv/.ready ## ruff and mypy
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

tables: .venv/.ready ## render the published records into results/tables/ and the README, without training
	@$(RUN) -m rdlib tables

notebooks: .venv/.ready ## execute the notebooks in place, to commit their outputs
	@$(RUN) -m rdlib notebooks

lab: .venv/.ready ## open JupyterLab on notebooks/
	@$(LAB)

explorer: .venv/.ready ## open JupyterLab on the explorer (then: Run, Run All Cells)
	@$(LAB) --LabApp.default_url=/lab/tree/12_explorer.ipynb

site: .venv/.site ## build the site of the executed notebooks into .site/, offline
	@$(RUN) .ci/site/build.py

clean: ## remove .venv, .uv, the site and test artefacts (records, weights and data stay)
	@rm -rf .venv .uv .site .artefacts

.uv/bin/uv:
	@echo "installing uv into .uv/"
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": set PYTHON=...") if sys.version_info < (3, 11) else 0'
	@$(PYTHON) -m venv .uv
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: 'uv>=0.9,<1' 2>/dev/null || \
		{ echo "uv could not be installed: is there a network?" >&2; rm -rf .uv; exit 1; }

ifeq ($(UV),.uv/bin/uv)
.venv/.ready: .uv/bin/uv
endif

# uv shows its progress on a terminal; its long list of packages goes to a log, and a dot every few seconds says that it is alive.
.venv/.ready: uv.lock pyproject.toml
	@echo "setting up .venv from uv.lock (several GB the first time; one to some minutes)"
	@( while sleep 4; do printf . >&2; done ) & dots=$$!; \
		$(UV) sync --locked --compile-bytecode --no-progress --python $(PYTHON) > .venv.log 2>&1; done=$$?; \
		kill $$dots; echo >&2; \
		if [ $$done -ne 0 ]; then cat .venv.log >&2; exit $$done; fi
	@mv .venv.log .venv/setup.log
	@touch $@

# Playwright comes on top of what the other targets need; without --inexact uv would take away other groups' packages.
.venv/.browser: .venv/.ready
	@echo "adding Playwright to .venv"
	@$(UV) sync --locked --inexact --compile-bytecode --no-progress --quiet --python $(PYTHON) --group browser
	@touch $@

# Jupyter Book comes on top in the same way.
.venv/.site: .venv/.ready
	@echo "adding Jupyter Book to .venv"
	@$(UV) sync --locked --inexact --compile-bytecode --no-progress --quiet --python $(PYTHON) --group site
	@touch $@
