# Everything starts here: `make demo` to see it work, `make test` to prove it.
# A shell that stops at the first failure, and no rule of make's own.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules

export SWIFT ?= swift
# Static but for libpq and the C library: loading libstdc++ would take a tenth of the time of a whole --once.
RELEASE := -c release --static-swift-stdlib --product mcp-cleanupd -Xswiftc -gnone --disable-local-rpath \
	-Xlinker -L$(CURDIR)/.build/static-runtime -Xswiftc -Xclang-linker -Xswiftc -static-libgcc -Xlinker --no-export-dynamic
# Real servers share two cores with the tests; more at once would only time out.
export SWT_EXPERIMENTAL_MAXIMUM_PARALLELIZATION_WIDTH ?= 4
export MCP_CLEANUPD_TEST_NEWEST_POSTGRES ?= /var/tmp/mcp-cleanupd-test-tools-$(shell id -u)/newest-postgres/bin

.PHONY: help demo test check build deb image manual format lint sanitize soak bench

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Watch the daemon clean a throwaway database
	@scripts/install-tools demo
	@demo/demo.sh

test: ## Run all tests, against real servers that they start themselves
	@scripts/install-tools test
	@scripts/run-tests

check: ## What CI runs: format, warnings as errors, the package, all tests
	@scripts/install-tools test
	$(MAKE) --no-print-directory lint
	CI=1 $(MAKE) --no-print-directory deb
	@CI=1 scripts/run-tests

build: ## Build the release binary, which needs only libpq, its libssl and the C library
	@scripts/install-tools build
	@mkdir -p .build/static-runtime
	@archive=$$(clang -print-file-name=libstdc++.a); \
		[ -e "$$archive" ] || { echo "libstdc++.a is missing; install libstdc++-12-dev" >&2; exit 1; }; \
		ln -sf "$$archive" .build/static-runtime/libstdc++.a
	$(SWIFT) build $(RELEASE)
	@strip -o .build/mcp-cleanupd "$$($(SWIFT) build $(RELEASE) --show-bin-path)/mcp-cleanupd"
	@ls -l .build/mcp-cleanupd

deb: build ## Build the Debian package
	@scripts/install-tools package
	@packaging/build-deb

image: ## Build the container image with podman; IMAGE_OPTIONS= are options of podman build
	@command -v podman >/dev/null || { echo "podman is missing; or: docker build --file Containerfile ." >&2; exit 1; }
	podman build --format docker $(IMAGE_OPTIONS) --file Containerfile \
		--tag mcp-cleanupd:$$(sed -n 's/.*static let version = "\(.*\)"/\1/p' Sources/mcp-cleanupd/RootCommand.swift) .

# The date is fixed, so that the page changes when its text does; the checksum tells a test that it is up to date.
manual: ## Write the manual page anew, from what the commands say of themselves
	$(SWIFT) package generate-manual --configuration debug --date 2026-11-25
	@page=.build/plugins/GenerateManual/outputs/mcp-cleanupd/mcp-cleanupd.1; \
		checksum=$$($$($(SWIFT) build --show-bin-path)/mcp-cleanupd --experimental-dump-help | cksum); \
		{ echo ".\\\" Made by make manual from help with the checksum $$checksum"; cat "$$page"; } >packaging/mcp-cleanupd.1

sanitize: ## Run all tests under the thread sanitizer
	@scripts/install-tools test
	@rm -f .build/sanitize/report.*
	TSAN_OPTIONS="suppressions=$(CURDIR)/Tests/thread-sanitizer.supp atexit_sleep_ms=0 log_path=$(CURDIR)/.build/sanitize/report" \
		THREAD_SANITIZER=1 $(SWIFT) test --scratch-path .build/sanitize
	@! grep --max-count 40 '' .build/sanitize/report.* 2>/dev/null

soak: ## Keep runs under fire: twenty times the kills and the frozen replicas, a million held rows
	@scripts/install-tools test
	MCP_CLEANUPD_TEST_SOAK=20 $(SWIFT) test --filter 'KillTests|ReplicaTests|LargeAndForeignTests'

bench: ## Measure start-up and the schedulers, side by side with their peers
	@Benchmarks/run

format: ## Format all Swift
	$(SWIFT) format --in-place --parallel --recursive Sources Tests Package.swift

lint: ## Check the format
	$(SWIFT) format lint --strict --parallel --recursive Sources Tests Package.swift
