# The two that matter: `make demo` shows what the shim does, `make test` runs all tests.

CARGO ?= cargo
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: help setup build demo test bench bench-failover test-transparency lint fmt conformance clean

help:
	@echo "make demo         unmodified programs lose a path, with and without the shim (DEMO_ARGS=--help for more)"
	@echo "make test         everything that is checked: format, lints, all tests, conformance, programs of others"
	@echo "make bench        speed, alone and under the shim, before and after a switch (BENCH_ARGS=--quick; about 5 minutes)"
	@echo "make bench-failover  how long flows are silent when their path fails, next to kernel MPTCP (BENCH_ARGS=--quick; about 5 minutes)"
	@echo "make test-transparency  other people's programs, alone and under the shim (installs some servers: scripts/setup)"
	@echo "make build        the tool and the preload library, in target/release"
	@echo "make setup        install the packages that demo and tests need and that are missing (Debian, Ubuntu)"
	@echo "make lint         clippy"
	@echo "make fmt          format the code"
	@echo "make conformance  write docs/conformance.md"
	@echo "make clean        remove what was built"

setup:
	@scripts/setup

build:
	$(CARGO) build --locked --release --workspace

demo: setup build
	$(CARGO) run --locked --release --quiet -p shim6-lab --bin shim6-demo -- $(DEMO_ARGS)

lint:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

fmt:
	$(CARGO) fmt --all

conformance:
	scripts/conformance
	scripts/implementation-report

# The tests that cross a network run the tool and the preload library, hence the build before them.
test: setup
	$(CARGO) fmt --all --check
	$(MAKE) --no-print-directory lint
	$(CARGO) build --locked --workspace
	python3 scripts/test_conformance.py
	scripts/conformance --check
	scripts/implementation-report --check
	$(CARGO) run --locked --quiet -p shim6-lab --bin shim6-transparency -- --subset
	$(CARGO) test --locked --workspace --no-fail-fast | tee target/test.log
	@awk '/^test result:/ { passed += $$4; failed += $$6; ignored += $$8 } \
	  END { printf "test result: all %d tests passed; %d failed; %d ignored\n", passed, failed, ignored; exit failed || !passed }' \
	  target/test.log

# These fail if something broke, not if a goal was missed. docs/bench/README.md tells how to read them.
bench: setup build
	@scripts/setup bench
	$(CARGO) run --locked --release --quiet -p shim6-lab --bin shim6-bench -- --readme README.md $(BENCH_ARGS)

bench-failover: setup build
	$(CARGO) run --locked --release --quiet -p shim6-lab --bin shim6-bench-failover -- --readme README.md $(BENCH_ARGS)

# All of it; a subset is part of `make test`. nginx, sshd, Node and Java are installed for this alone.
test-transparency:
	@scripts/setup transparency
	$(CARGO) build --locked --workspace
	$(CARGO) run --locked --quiet -p shim6-lab --bin shim6-transparency -- $(TRANSPARENCY_ARGS)

clean:
	$(CARGO) clean
