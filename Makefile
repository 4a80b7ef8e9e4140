# `make demo` and `make test` set up all they need, on a machine that has only Python 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
SHARED ?= ../shared

.PHONY: venv demo test lint bench demo-model coverage kills clean

venv: $(READY)

# pip and not uv: torch's CPU build is found by pip, and only at the pinned version.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "shiftable needs Python 3.11 or later; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

demo: venv  ## audit the embedded model on drawn shapes, offline
	$(BIN)/shiftable audit --out out/demo --overwrite

test: venv lint
	$(BIN)/pytest -n 2 --dist loadfile

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: venv  ## ratios, each within one run; see benchmarks/
	$(BIN)/python benchmarks/audit_speed.py
	$(BIN)/python benchmarks/audit_memory.py

demo-model: venv  ## train the embedded model again, from nothing
	$(BIN)/python scripts/train_demo.py

coverage: venv  ## do 95 % intervals hold the truth 95 times in 100? writes docs/coverage.md
	$(BIN)/python scripts/coverage.py

kills: venv  ## stop an audit by SIGKILL at twenty random moments
	$(BIN)/python scripts/kill_and_resume.py

clean:
	rm -rf .venv out .mypy_cache .ruff_cache .pytest_cache .hypothesis
