# Starting points: `make demo` shows the product at work, `make test` tests it, `make help` lists the rest.
# Each line of a recipe stops at its first failure, also inside a pipe; built-in rules would only hide typing errors.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules

export SWIFT ?= swift
# Static but for libpq and the C library: loading libstdc++ would take a tenth of the time of a whole --once.
# 24.1 MB become 21.4: code for size, which starts no slower; equal functions once; relative relocations in a tenth of their room.
# By the linker of Swift's toolchain.
SMALL := -Xswiftc -Osize -Xswiftc -use-ld=lld -Xlinker --icf=all -Xlinker -z -Xlinker pack-relative-relocs
RELEASE := -c release --static-swift-stdlib --product mcp-cleanupd -Xswiftc -gnone --disable-local-rpath \
	-Xlinker -L$(CURDIR)/.build/static-runtime -Xswiftc -Xclang-linker -Xswiftc -static-libgcc -Xlinker --no-export-dynamic \
	-Xlinker -z -Xlinker now -Xlinker -z -Xlinker relro $(SMALL)
# Four tests at a time. They share two cores with the servers they start; with more, some would exceed their time limits.
export SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH ?= 4
TEST_TOOLS := /var/tmp/mcp-cleanupd-test-tools-$(shell id -u)
export MCP_CLEANUPD_TEST_NEWEST_POSTGRES ?= $(TEST_TOOLS)/newest-postgres/bin

.PHONY: help demo test check build deb release image format lint model fuzz sanitize soak bench clean same-directory

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: same-directory ## See it clean a throwaway PostgreSQL, then run as a service; takes a minute after the build
	@scripts/install-tools demo
	@demo/demo.sh

test: same-directory ## Run the fast tests against throwaway PostgreSQL and PgBouncer servers; at most 3 minutes after the build
	@scripts/install-tools test
	@scripts/run-tests

check: same-directory ## Run all that CI runs: lint, the package with warnings as errors, the model, then all tests
	@scripts/install-tools check
	$(MAKE) --no-print-directory lint
	CI=1 $(MAKE) --no-print-directory deb
	$(MAKE) --no-print-directory model
	@CI=1 MCP_CLEANUPD_SLOW_TESTS=1 scripts/run-tests

build: same-directory ## Build the release binary, .build/mcp-cleanupd, which needs only libpq, its libssl and the C library
	@scripts/install-tools build
	@mkdir -p .build/static-runtime
	@archive=$$(clang -print-file-name=libstdc++.a); \
		[ -e "$$archive" ] || { echo "libstdc++.a is missing; install libstdc++-12-dev" >&2; exit 1; }; \
		ln -sf "$$archive" .build/static-runtime/libstdc++.a
	$(SWIFT) build $(RELEASE)
	@strip -o .build/mcp-cleanupd "$$($(SWIFT) build $(RELEASE) --show-bin-path)/mcp-cleanupd"
	@ls -l .build/mcp-cleanupd

deb: build ## Build the Debian package, .build/mcp-cleanupd_VERSION_ARCHITECTURE.deb
	@scripts/install-tools package
	@packaging/build-deb

release: deb ## Build everything that a release consists of, with checksums
	@$(or $(wildcard packaging/release),echo "packaging/release is missing" >&2; exit 1)

image: ## Build the container image with podman; IMAGE_OPTIONS= are options of podman build
	@command -v podman >/dev/null || { echo "podman is missing; or: docker build --file Containerfile ." >&2; exit 1; }
	podman build --format docker $(IMAGE_OPTIONS) --file Containerfile \
		--tag mcp-cleanupd:$$(sed -n 's/.*static let version = "\(.*\)"/\1/p' Sources/mcp-cleanupd/Commands/RootCommand.swift) .

format: ## Format all Swift files
	$(SWIFT) format --in-place --parallel --recursive Sources Tests Package.swift

lint: ## Check the format of all Swift files
	$(SWIFT) format lint --strict --parallel --recursive Sources Tests Package.swift

model: ## Check the model of claims and leases with spin (docs/model)
	@scripts/install-tools model
	@$(or $(wildcard docs/model/run),echo "docs/model/run is missing: no model is checked" >&2)

fuzz: same-directory ## Feed the parsers and the client random and hostile input, twenty times as long as make check does
	@scripts/install-tools test
	MCP_CLEANUPD_SLOW_TESTS=1 MCP_CLEANUPD_TEST_SOAK=20 scripts/run-tests --filter Fuzz

soak: same-directory ## Kill, freeze and cut off the program under load, twenty times as long as make check does
	@scripts/install-tools check
	MCP_CLEANUPD_SLOW_TESTS=1 MCP_CLEANUPD_TEST_SOAK=20 scripts/run-tests --filter 'KillTests|ReplicaTests|LargeAndForeignTests'

sanitize: same-directory ## Run all tests under the thread sanitizer
	@scripts/install-tools check
	@rm -f .build/sanitize/report.*
	TSAN_OPTIONS="suppressions=$(CURDIR)/Tests/thread-sanitizer.supp atexit_sleep_ms=0 log_path=$(CURDIR)/.build/sanitize/report" \
		MCP_CLEANUPD_SLOW_TESTS=1 THREAD_SANITIZER=1 $(SWIFT) test --scratch-path .build/sanitize
	@! grep --max-count 40 '' .build/sanitize/report.* 2>/dev/null

bench: ## Measure start-up, idle cost and the schedulers, beside comparable programs (Benchmarks/RESULTS.md)
	@Benchmarks/run

clean: ## Delete .build and Benchmarks/.build, and say how much space that frees
	@for directory in .build Benchmarks/.build; do \
		if [ -e "$$directory" ]; then du -sh "$$directory" | sed 's/^/Freeing /'; rm -rf "$$directory"; fi; done
	@if [ -e $(TEST_TOOLS) ]; then du -sh $(TEST_TOOLS) | sed 's/^/Kept for the next make check, delete it by hand: /'; fi

# Compiled modules name their directory. In a copied tree the compiler would say only: missing required module 'SwiftShims'.
same-directory:
	@for manifest in $(wildcard .build/debug.yaml .build/release.yaml .build/sanitize/debug.yaml); do \
		grep -qF '$(CURDIR)/.build/' "$$manifest" || { \
			echo ".build was made in another directory, and cannot be used in $(CURDIR). Run make clean, then this again." >&2; \
			exit 1; }; done
