# The two that matter: `make demo` shows what the shim does, `make test` runs all tests.

CARGO ?= cargo
SHELL := /bin/bash
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
MANDIR ?= $(PREFIX)/share/man
DESTDIR ?=
# Where `make build` puts things
BUILT ?= target/release
VERSION := $(shell sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml)
.SHELLFLAGS := -euo pipefail -c
.PHONY: help setup build install uninstall demo test loom tsan bench bench-failover test-transparency lint fmt conformance clean

help:
	@echo "make demo         unmodified programs lose a path, with and without the shim (DEMO_ARGS=--help for more)"
	@echo "make test         everything that is checked: format, lints, all tests, conformance, programs of others"
	@echo "make loom         the descriptor table in every order that threads can run in"
	@echo "make tsan         64 threads over 1000 sockets, watched by ThreadSanitizer (builds the standard library too: some minutes)"
	@echo "make bench        speed, alone and under the shim, before and after a switch (two minutes with BENCH_ARGS=--quick, else longer)"
	@echo "make bench-failover  how long flows are silent when their path fails, next to kernel MPTCP (BENCH_ARGS=--quick; about 5 minutes)"
	@echo "make test-transparency  other people's programs, alone and under the shim (installs some servers: scripts/setup)"
	@echo "make build        the tool and the libraries, in target/release"
	@echo "make install      what was built, into PREFIX ($(PREFIX)); DESTDIR and LIBDIR as usual"
	@echo "make setup        install the packages that demo and tests need and that are missing (Debian, Ubuntu)"
	@echo "make lint         clippy"
	@echo "make fmt          format the code"
	@echo "make conformance  write docs/conformance.md"
	@echo "make clean        remove what was built"

setup:
	@scripts/setup

build:
	$(CARGO) build --locked --release --workspace

# As root, perhaps, who has no cargo: builds nothing.
install:
	@for file in shim6 libshim6.so libshim6.a libshim6_preload.so; do \
	  test -e $(BUILT)/$$file || { echo "install: there is no $(BUILT)/$$file; run 'make build' first" >&2; exit 1; }; \
	done
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/include" "$(DESTDIR)$(LIBDIR)/pkgconfig" \
	  "$(DESTDIR)$(MANDIR)/man1"
	install -m 755 $(BUILT)/shim6 "$(DESTDIR)$(PREFIX)/bin/shim6"
	install -m 755 $(BUILT)/libshim6_preload.so "$(DESTDIR)$(LIBDIR)/libshim6_preload.so"
	install -m 755 $(BUILT)/libshim6.so "$(DESTDIR)$(LIBDIR)/libshim6.so.$(VERSION)"
	ln -sf libshim6.so.$(VERSION) "$(DESTDIR)$(LIBDIR)/libshim6.so.0"
	ln -sf libshim6.so.0 "$(DESTDIR)$(LIBDIR)/libshim6.so"
	install -m 644 $(BUILT)/libshim6.a "$(DESTDIR)$(LIBDIR)/libshim6.a"
	install -m 644 include/shim6.h "$(DESTDIR)$(PREFIX)/include/shim6.h"
	$(BUILT)/shim6 man "$(DESTDIR)$(MANDIR)/man1"
	chmod 644 "$(DESTDIR)$(MANDIR)/man1"/shim6*.1
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' libshim6/clib/shim6.pc.in \
	  > "$(DESTDIR)$(LIBDIR)/pkgconfig/shim6.pc"
	chmod 644 "$(DESTDIR)$(LIBDIR)/pkgconfig/shim6.pc"
	@test -n "$(DESTDIR)" || ldconfig 2>/dev/null || true

uninstall:
	rm -f "$(DESTDIR)$(MANDIR)"/man1/shim6.1 "$(DESTDIR)$(MANDIR)"/man1/shim6-*.1
	rm -f "$(DESTDIR)$(PREFIX)/bin/shim6" "$(DESTDIR)$(PREFIX)/include/shim6.h" "$(DESTDIR)$(LIBDIR)/pkgconfig/shim6.pc"
	rm -f "$(DESTDIR)$(LIBDIR)"/libshim6{.a,.so,.so.0,.so.$(VERSION),_preload.so}

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
	$(CARGO) build --locked --workspace --lib --bins --examples
	python3 scripts/test_conformance.py
	scripts/conformance --check
	scripts/implementation-report --check
	$(CARGO) run --locked --quiet -p shim6-lab --bin shim6-transparency -- --subset
	$(CARGO) test --locked --workspace --no-fail-fast | tee target/test.log
	@awk '/^test result:/ { passed += $$4; failed += $$6; ignored += $$8 } \
	  END { printf "test result: all %d tests passed; %d failed; %d ignored\n", passed, failed, ignored; exit failed || !passed }' \
	  target/test.log

loom:
	cd loom && RUSTFLAGS="--cfg loom" $(CARGO) test --locked --release --target-dir ../target/loom

tsan: setup
	scripts/tsan

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
