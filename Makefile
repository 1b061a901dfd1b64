# make demo    a cluster of five hosts on this machine, with a shop on it (root)
# make test    whatever this machine lacks, then all tests (root)
# make bugs    plant each bug of the catalogue, and see whether the simulations find it
# make check   the fast loop: lint, types, import floors, house rules, unit tests
# make chaos   managers under faults, the clients' histories checked: MINUTES=60 OPERATIONS=100000 KILLS=300
# make fuzz    strange bytes for all that reads bytes of strangers: MINUTES=10
.DEFAULT_GOAL := help
.PHONY: help demo demo-down test check chaos fuzz bench bugs gen clean packages venv venv-dev

PYTHON := .venv/bin/python

help:
	@sed -n 's/^# make/make/p' Makefile

packages:
	@deploy/install-packages.sh

venv: packages
	@deploy/make-venv.sh

venv-dev: packages
	@deploy/make-venv.sh dev

demo: venv
	@deploy/demo.sh up

demo-down:
	@deploy/demo.sh down

test: venv-dev
	@deploy/run-tests.sh

check: venv-dev
	$(PYTHON) -m pytest -q -n auto -m "not slow" tests/tidy tests/unit

OPERATIONS := 100000
chaos: MINUTES ?= 60
chaos: KILLS ?= 300
chaos: venv-dev
	$(PYTHON) tests/chaos/run.py --minutes $(MINUTES) --operations $(OPERATIONS)
	$(PYTHON) tests/chaos/kills.py --kills $(KILLS)

fuzz: MINUTES ?= 10
fuzz: venv-dev
	$(PYTHON) tests/fuzz/run.py --minutes $(MINUTES)

bench: venv-dev
	$(PYTHON) tests/bench/run.py

bugs: venv-dev
	$(PYTHON) -m pyswarm.testing.planted_bugs

# Generated code is committed, so that an install needs no protoc.
gen: venv-dev
	$(PYTHON) -m grpc_tools.protoc --proto_path=proto \
	    --python_out=. --grpc_python_out=. --mypy_out=. --mypy_grpc_out=. \
	    --plugin=protoc-gen-mypy=.venv/bin/protoc-gen-mypy \
	    --plugin=protoc-gen-mypy_grpc=.venv/bin/protoc-gen-mypy_grpc \
	    $$(find proto -name '*.proto' | sort)

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -path ./.venv -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
