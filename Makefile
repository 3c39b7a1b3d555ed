# make .venv      the environment                    make demo    the whole job on small real data, two minutes
# make test       the tests, four minutes            make check   style, types, import contract
# make test-all   and what only a release needs      make docs    write the pages that are drawn from the code
# make tutorials  run the tutorials again, a minute
# make bench      timings against other libraries, 45 minutes with CIFAR-10 at hand
# make bench-gpu  what an accelerator alone can answer, nine minutes; needs PyTorch and NumPy and no more
# make house      the size and shape of the code     make wheel   build into dist/, and try it in an environment
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-script-location -c constraints.txt

.PHONY: .venv demo test test-all check bench bench-gpu docs tutorials house wheel hooks clean

.venv: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@echo "installing into .venv (about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(INSTALL) -e .
	@touch $@

.venv/.installed-dev: .venv/.installed
	@echo "installing what tests and checks need"
	@$(INSTALL) -e '.[test,check,docs]'
	@touch $@

.venv/.installed-bench: .venv/.installed
	@$(INSTALL) 'requests' 'tqdm' 'pyautoattack==0.2.0' 'foolbox>=3.3.4'
	@$(INSTALL) --no-deps torchattacks==3.5.1
	@touch $@

demo: .venv
	@$(BIN)/semirobust demo

# loadgroup: tests that share what is costly to make stay in one worker.
test: .venv/.installed-dev
	@$(BIN)/python -m pytest -n 2 --dist loadgroup

test-all: .venv/.installed-dev
	@$(BIN)/python -m pytest -n 2 --dist loadgroup -m ""

check: .venv/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: .venv/.installed-bench
	@$(BIN)/python -m benchmarks

# Whatever python3 has PyTorch: an image with a driver brings its own.
bench-gpu:
	@PYTHONPATH=src $(PYTHON) -m benchmarks.gpu

docs: .venv/.installed-dev
	@$(BIN)/python -m tests.docs.tables
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --clean

tutorials: .venv/.installed-dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m scripts.tutorials

house: .venv/.installed-dev
	@$(BIN)/python -m scripts.house
	@$(BIN)/python -m scripts.readability --all

wheel: .venv/.installed-dev
	@$(BIN)/python -m scripts.wheel

hooks: .venv/.installed-dev
	@$(INSTALL) -e '.[hooks]'
	@$(BIN)/pre-commit install

clean:
	rm -rf .venv dist runs site
