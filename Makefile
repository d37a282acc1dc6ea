# Every target is a plain command that you could type; README.md lists them.
PYTHON ?= python3
# Another package index for PyTorch alone, for instance the CPU-only one that its install page names.
TORCH_INDEX ?=

VENV := .venv
RUN := $(VENV)/bin/python -m
PIP := $(RUN) pip install --quiet --disable-pip-version-check -c constraints.txt
JOBS ?= 2

define HELP

The installation did not finish. What usually helps:
  - no network, or a slow one:   run the same command again; pip continues where it stopped.
  - "no matching distribution":  this project needs Python 3.11, 3.12 or 3.13;  make PYTHON=python3.12 lab
  - "ensurepip is not available": install venv for your Python (Debian, Ubuntu: apt install python3-venv).
  - the disk is full:            about 2 GB are needed; several more where PyTorch brings CUDA (README, "Install").
  - it stays broken:             rm -rf .venv   and start again.
endef
export HELP
OR_HELP = || { printf '%s\n' "$$HELP" >&2; exit 1; }

.PHONY: lab test lint unit notebooks browser chapters figures checkpoints bench doctor

lab: $(VENV)/lab.done
	$(RUN) jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --LabApp.default_url=/lab/tree/chapters/00_start_here.ipynb

test: lint unit notebooks browser

lint: $(VENV)/test.done
	$(RUN) ruff check .
	$(RUN) ruff format --check .

unit: $(VENV)/test.done
	$(RUN) pytest -n $(JOBS) --dist=loadscope --ignore=tests/browser $(TESTS)

notebooks: $(VENV)/test.done
	$(RUN) pytest -n $(JOBS) --dist=loadscope --nbval --nbval-current-env --nbval-cell-timeout=120 $(or $(NOTEBOOKS),chapters)

browser: $(VENV)/test.done
	$(RUN) pytest -rs tests/browser

chapters: $(VENV)/test.done
	$(RUN) chapters.build $(ONLY)

figures: $(VENV)/test.done
	$(RUN) figures.build $(ONLY)

checkpoints: $(VENV)/lab.done
	$(RUN) rlcore.loops.checkpoints $(ONLY)

bench: $(VENV)/bench.done
	$(RUN) benchmarks $(ONLY)

doctor: $(VENV)/lab.done
	$(RUN) rlcore.doctor

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v[:2] <= (3, 13) else \
	  "Python %d.%d found, 3.11, 3.12 or 3.13 needed: make PYTHON=python3.12 lab" % v[:2])'
	$(PYTHON) -m venv $(VENV) $(OR_HELP)

# PyTorch in a step of its own, first: the one large download.
$(VENV)/torch.done: | $(VENV)/bin/python
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch $(OR_HELP)
	@touch $@

$(VENV)/lab.done: pyproject.toml constraints.txt | $(VENV)/torch.done
	$(PIP) --editable '.[lab]' $(OR_HELP)
	@touch $@

$(VENV)/test.done: $(VENV)/lab.done
	$(PIP) --editable '.[lab,test]' $(OR_HELP)
	@touch $@

$(VENV)/bench.done: $(VENV)/lab.done
	$(PIP) --editable '.[lab,test,bench]' $(OR_HELP)
	@touch $@
