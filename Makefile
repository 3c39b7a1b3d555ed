# make .venv   the environment        make demo    the whole job on small real data, about two minutes
# make test    the tests              make check   style, types, import contract
# make bench   timings against other libraries, 45 minutes with CIFAR-10 at hand
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-script-location -c constraints.txt

.PHONY: .venv demo test check bench docs clean

.venv: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@echo "installing into .venv (about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(INSTALL) -e .
	@touch $@

.venv/.installed-dev: .venv/.installed
	@echo "installing what tests and checks need"
	@$(INSTALL) -e '.[test,check]'
	@touch $@

.venv/.installed-bench: .venv/.installed
	@$(INSTALL) 'requests' 'tqdm' 'pyautoattack==0.2.0' 'foolbox>=3.3.4'
	@$(INSTALL) --no-deps torchattacks==3.5.1
	@touch $@

demo: .venv
	@$(BIN)/semirobust demo

test: .venv/.installed-dev
	@$(BIN)/python -m pytest -n 2

check: .venv/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: .venv/.installed-bench
	@$(BIN)/python -m benchmarks

docs: .venv/.installed-dev
	@$(BIN)/python -m tests.docs.tables

clean:
	rm -rf .venv runs
