# All recipes run in .venv, which `make setup` makes from .requirements/lock.txt.
SHELL := /bin/sh
PY := .venv/bin/python
export PYTHON
# One thread per process: two processes with two threads each on two cores are many times slower.
export OMP_NUM_THREADS ?= 1
export PYTHONHASHSEED ?= 0
# glibc gives the memory of a network's large tensors back after every pass and faults it in again at the next, which
# takes a good part of its time. Other C libraries do not read these.
export MALLOC_TRIM_THRESHOLD_ ?= 1073741824
export MALLOC_MMAP_THRESHOLD_ ?= 268435456
# Compiled once, not in each of dozens of processes: torch alone would cost each of them two seconds.
unexport PYTHONDONTWRITEBYTECODE
PYTEST_ARGS ?=
CHECK_ARGS ?=
BENCH ?= $(wildcard tests/benchmarks/bench_*.py)

help:
	@echo 'make book    run the notebooks and build the book: build/html/index.html'
	@echo 'make test    run the tests: three minutes on two cores'
	@echo 'make test-slow  run the others: clusters, killed processes, training, an installed wheel, whole notebooks'
	@echo 'make fuzz    read damaged files of every kind for SECONDS=600, and count the outcomes'
	@echo 'make coverage  share of the branches of the core modules that their tests take (at least 95 % of each)'
	@echo 'make mutants  change the core modules at random places and see whether tests notice (MUTANTS_ARGS=--help)'
	@echo 'make test-lowest  run the tests with the oldest packages that pyproject.toml allows (TESTS=FILES: some of them)'
	@echo 'make audit   look up known vulnerabilities of the pinned packages (needs the network)'
	@echo 'make pages   check the built book: markup, links, accessibility, every page in Chromium (Debian: package chromium)'
	@echo 'make links   ask every other host that the built book links to (needs the network)'
	@echo 'make pdf     print the built book and its report through Chromium: perceptlib.pdf, report.pdf in build/html'
	@echo 'make check   compute what is recorded again, and say what moved (CHECK_ARGS=--quick: half a minute)'
	@echo 'make lint    ruff, mypy, codespell, vulture (unused code) and import-linter (what may import what)'
	@echo 'make bench   time attack step, convex programs, SSIM and picture sizes (BENCH=FILE: one of them)'
	@echo 'make soak    run studies in a loop and see whether memory grows (SECONDS=3600)'
	@echo 'make record  run the pages that need ImageNet weights again and keep them under data/recorded'
	@echo 'make manifest  renew the checksums of what ships under data/, and its RO-Crate, after something was recorded anew'
	@echo 'make explorer  attack the pictures of the explorer page again (needs ImageNet weights)'
	@echo 'make setup   only make or mend the environment .venv (the others do it by themselves)'
	@echo 'make lock    resolve the pinned packages again (PYTHONS="python3.11 python3.12 python3.13")'
	@echo 'make clean   remove build/ (and leave .venv)'
	@echo 'make fork URL=https://github.com/OWNER/NAME  make another repository the home of book, badges and notebooks'
	@echo 'PYTHON=...   names the Python (3.11 or newer) that makes .venv'

setup:
	@MAKECMDGOALS='$(MAKECMDGOALS)' sh .requirements/setup.sh

book: setup
	@$(PY) book/build.py

test: setup
	@$(PY) -m pytest -q -n 2 $(PYTEST_ARGS)

test-slow: setup
	@$(PY) -m pytest -q -n 2 -m slow $(PYTEST_ARGS)

fuzz: setup
	@PYTHONPATH=tests $(PY) tests/fuzzing.py $(or $(SECONDS),600)

coverage: setup
	@sh .requirements/quality.sh tests/mutation/branches.py

mutants: setup
	@sh .requirements/quality.sh tests/mutation/mutate.py $(MUTANTS_ARGS)

test-lowest:
	@$(or $(PYTHON),python3) .requirements/lowest.py $(TESTS)

audit: setup
	@sh .requirements/audit.sh

pages: setup
	@$(PY) book/build.py check
	@$(PY) -m pytest -q -n 2 -m pages tests

check: setup
	@$(PY) -m perceptlib check $(CHECK_ARGS)

links: setup
	@$(PY) book/build.py links

pdf: setup
	@$(PY) book/pdf.py

lint: setup
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@$(PY) -m codespell_lib .
	@$(PY) .requirements/unused.py
	@.venv/bin/lint-imports

bench: setup
	@$(PY) -m pytest -q -o 'python_functions=bench_*' --benchmark-disable-gc $(BENCH)

soak: setup
	@$(PY) tests/benchmarks/soak.py $(or $(SECONDS),3600)

record: setup
	@$(PY) book/build.py record

manifest: setup
	@$(PY) -m perceptlib.records.manifest
	@$(PY) -m perceptlib.records.crate

explorer: setup
	@$(PY) -m perceptlib.pages.explorer book/_static/explorer

lock:
	@$(or $(PYTHON),python3) .requirements/relock.py $(or $(PYTHONS),python3.11 python3.12 python3.13) --renew $(RENEW)

fork: setup
	@$(PY) book/fork.py $(URL)

clean:
	rm -rf build

.PHONY: help setup book test test-slow fuzz coverage mutants test-lowest audit pages links pdf check lint bench soak record manifest explorer lock fork clean
