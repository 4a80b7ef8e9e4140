# `make demo` and `make test` set up all they need, on a machine that has only Python 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
SHARED ?= ../shared

.PHONY: venv demo test torch-free lint docs bench demo-model seven-models moves explained paper coverage kills clean

venv: $(READY)

# pip and not uv: torch's CPU build is found by pip, and only at the pinned version.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "shiftable needs Python 3.11 or later; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

demo: venv  ## audit the embedded model on drawn shapes, offline
	$(BIN)/shiftable audit --out out/demo --overwrite

# One thread each: two workers whose nets take both cores wait for one another, and take twice as long.
test: venv lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

torch-free:  ## in environments of their own without torch, under Python 3.11, 3.12 and 3.13, as far as they are here
	$(PYTHON) scripts/torch_free.py

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: venv  ## the site, to out/site; broken links are errors
	$(BIN)/python scripts/cli_reference.py --check
	$(BIN)/zensical build --strict

bench: venv  ## ratios, each within one run; see benchmarks/
	$(BIN)/python benchmarks/audit_speed.py
	$(BIN)/python benchmarks/audit_memory.py
	$(BIN)/python benchmarks/http_speed.py
	$(BIN)/python benchmarks/backend_speed.py $(SHARED)
	$(BIN)/python benchmarks/motion_speed.py $(SHARED)
	$(BIN)/python benchmarks/video.py $(SHARED)
	$(BIN)/python benchmarks/explain.py $(SHARED)
	$(BIN)/python benchmarks/layers.py
	$(BIN)/python benchmarks/whole_nets.py

demo-model: venv  ## train the embedded model again, from nothing
	$(BIN)/python scripts/train_demo.py

seven-models: venv  ## audit the shared classifiers under three motions; writes docs/seven_models/*.html
	$(BIN)/python scripts/seven_models.py $(SHARED)

moves: venv  ## scale, rotation, fractions of a pixel, video, detectors … on the shared models: docs/everything_that_moves.md
	$(BIN)/python scripts/everything_that_moves.py $(SHARED)

explained: venv  ## explain the shared models and the CIFAR-10 nets of scripts/train_contrast.py: docs/explain/explained.md
	$(BIN)/python scripts/train_contrast.py $(SHARED)/data/cifar10
	$(BIN)/python scripts/explained.py $(SHARED)

paper: venv  ## all studies, hours on two cores, stopped and gone on with at will; writes docs/paper/
	$(BIN)/shiftable study all --out out/studies --threads 2
	$(BIN)/python scripts/publish_studies.py out/studies docs/paper

coverage: venv  ## do 95 % intervals hold the truth 95 times in 100? writes docs/coverage.md
	$(BIN)/python scripts/coverage.py

kills: venv  ## stop an audit by SIGKILL at twenty random moments
	$(BIN)/python scripts/kill_and_resume.py

clean:
	rm -rf .venv out .mypy_cache .ruff_cache .pytest_cache .hypothesis
