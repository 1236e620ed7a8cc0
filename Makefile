# make demo   the whole tour: index real clips, search them, train and compare methods, write report.html
# make test   ruff, mypy and pytest
# make soak   the long checks: kill loops, fuzzing
# Variables: MODEL (a CLIP or SigLIP name or folder; default: the offline encoders), VIDEOS (a folder of your own),
# PYTHON, TORCH_INDEX (a package index with the torch build you want, for instance https://download.pytorch.org/whl/cpu).

PYTHON ?= python3
MODEL ?= offline
VIDEOS ?=
TORCH_INDEX ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test soak env docs bench clean

demo: env
	$(BIN)/reelseek demo --model "$(MODEL)" $(if $(VIDEOS),--videos "$(VIDEOS)")

test: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

soak: env
	$(BIN)/pytest -m soak --timeout=1200

docs: env
	$(PIP) -e ".[docs]"
	$(BIN)/sphinx-build -W -b html docs docs/_build/html

bench: env
	$(BIN)/python benchmarks/scoring.py
	$(BIN)/python benchmarks/decode.py
	$(BIN)/python benchmarks/search.py

env: .venv/ready

# torch comes first and alone: a later, looser request could otherwise bring another build of several GB
.venv/ready: pyproject.toml constraints.txt demo-clips.txt
	@echo "making the environment in .venv (a few minutes the first time)"
	$(PYTHON) -m venv .venv
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(PIP) -e ".[dev]"
	$(PIP) --no-deps -r demo-clips.txt
	@touch $@

clean:
	rm -rf demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
