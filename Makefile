# One command each: demo, test, check, format, bench. All of them make .venv first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Of the benchmarks: a folder with one folder a class. The variables, where set, slow OpenBLAS down.
DATA   ?= demo/digits
BENCH  := env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python benchmarks

# Tests of models from KerasHub, of the larger Lite networks, of data frames, and of saved
# scikit-learn classifiers, and of exports in every format.
EXTRAS := tests/embed/backbones/test_family.py tests/embed/backbones/test_hub.py \
          tests/embed/backbones/test_lite.py tests/embed/test_embedder.py tests/classify/test_table.py \
          tests/classify/heads/test_saved_estimator.py tests/cli/test_trust.py \
          tests/cli/test_predict_exported.py tests/deploy

.PHONY: demo test test-slow test-extras test-browser check format bench clean

demo: $(VENV)/.installed
	$(BIN)/tlx demo demo

# One BLAS thread a process: two processes with two threads each are slower than with one. The tests
# of a file stay together, as they share what is slow to make.
test: $(VENV)/.installed-dev
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist loadfile -m "not slow and not browser"

# With every optional package, as some of what is slow needs one.
test-slow: $(VENV)/.installed-extras
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist loadfile -m slow

# What needs an optional package, and is skipped elsewhere: about 1 GB more to install.
test-extras: $(VENV)/.installed-extras
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist loadfile -m "not slow and not browser" $(EXTRAS)

# Pages in a real browser, with what finds barriers in them, and the exported one with what runs its
# network. One that is missing is a skip.
AXE := 4.10.3
ORT := $(shell sed -n 's/^VERSION.*"\(.*\)"/\1/p' deploy/formats/web.py)
test-browser: $(VENV)/.installed-browser build/axe-$(AXE)/axe.min.js build/onnxruntime-web-$(ORT)/package.json
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -q -m browser tests/browser

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Every benchmark: ratios against baselines in the same run, then claims. About an hour on two cores.
bench: $(VENV)/.installed-dev $(DATA)
	$(BENCH)/embed.py $(DATA)
	$(BENCH)/finetune.py $(DATA)
	$(BENCH)/durability.py
	$(BENCH)/logistic.py --max-seconds 600
	$(BENCH)/honesty.py
	$(BENCH)/serve.py $(DATA)

demo/digits: $(VENV)/.installed
	$(BIN)/tlx demo demo

clean:
	rm -rf $(VENV) build demo *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.installed

# The browser comes from the system, where one may install it.
$(VENV)/.installed-browser: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev,browser,export]'
	command -v chromium || command -v google-chrome \
	  || (apt-get update --quiet && apt-get install --yes --quiet chromium) \
	  || echo "There is no Chromium here, and it cannot be installed."
	touch $@ $(VENV)/.installed $(VENV)/.installed-dev

build/axe-$(AXE)/axe.min.js:
	mkdir -p $(@D)
	cd $(@D) && npm pack --silent axe-core@$(AXE) && tar --extract --gzip --strip-components=1 \
	  --file axe-core-$(AXE).tgz package/axe.min.js || echo "axe-core cannot be fetched."

build/onnxruntime-web-$(ORT)/package.json:
	mkdir -p $(@D)
	cd $(@D) && npm pack --silent onnxruntime-web@$(ORT) && tar --extract --gzip --strip-components=1 \
	  --file onnxruntime-web-$(ORT).tgz package/package.json package/dist/ort.wasm.bundle.min.mjs \
	  package/dist/ort-wasm-simd-threaded.wasm || echo "onnxruntime-web cannot be fetched."

$(VENV)/.installed-extras: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev,export,hub,int8,lite1,lite2,ray,skops]' pandas
	touch $@ $(VENV)/.installed $(VENV)/.installed-dev
