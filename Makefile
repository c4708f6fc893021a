# What is here needs Go and make alone, except tests, which need a redis-server,
# and e2e, which says what it installs.
# Tools run at the versions below; "go run" fetches and builds them.

GO ?= go
GOLANGCI_LINT = $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK = $(GO) run golang.org/x/vuln/cmd/govulncheck@v1.8.0

# How long each fuzz target runs, in "make fuzz".
FUZZTIME ?= 10s

# How long the tests of one package may take, on a machine that is busy.
TIMEOUT ?= 20m

# The race detector needs a C compiler. "make test RACE=-race" insists on it.
RACE ?= $(shell command -v "$$($(GO) env CC)" >/dev/null 2>&1 && echo -race)

.PHONY: help
help:
	@echo 'make test         vet and all Go tests; fails if a test is skipped'
	@echo 'make fuzz         every fuzz target for FUZZTIME ($(FUZZTIME)) each'
	@echo 'make lint         golangci-lint (formatting, too) and go.mod'
	@echo 'make vuln         govulncheck, with the database of vuln.go.dev'
	@echo 'make e2e          a real browser and real clients; installs what it needs'
	@echo 'make check        all of the above: what CI runs'
	@echo 'make bench        cost against Caddy alone, some minutes; Linux'
	@echo 'make bench-quick  the same under a minute, less exact'
	@echo 'make soak         long runs of tests, fuzzing and benchmark, about an hour'

.PHONY: check
check: lint vuln test fuzz e2e

# Packages that load the machine, or look at moments, have it to themselves. The
# others run beside each other, two at a time on two cores, and so do the tests
# of each that wait for a Caddy. That is built once for all of them.
ALONE = /integration/load$$

# WEBSOCKET_AUTH_MODEL is how long the model test of the gate goes on.
.PHONY: test
test: export WEBSOCKET_AUTH_MODEL ?= 20s
test:
	@test -n '$(RACE)' || echo 'no C compiler: testing without the race detector'
	$(GO) vet ./...
	@set -ex; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	export INTEGRATION_CADDY="$$folder/caddy"; \
	$(GO) build $(RACE) -o "$$INTEGRATION_CADDY" ./cmd/caddy; \
	$(GO) run ./tools/noskip $(RACE) -shuffle=on -timeout=$(TIMEOUT) -parallel=4 $$($(GO) list ./... | grep -vE '$(ALONE)'); \
	$(GO) run ./tools/noskip $(RACE) -shuffle=on -timeout=$(TIMEOUT) -p=1 $$($(GO) list ./... | grep -E '$(ALONE)')

# One at a time, since go test fuzzes one target of one package at a time. A
# target counts only where it is declared: at the start of a line of a test.
.PHONY: fuzz
fuzz:
	@set -e; found=0; \
	for file in $$(grep -rlE '^func Fuzz[A-Z]' --include='*_test.go' --exclude-dir=e2e . | sort); do \
		for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]+)\(.*/\1/p' "$$file"); do \
			found=1; echo "$$target in $$(dirname "$$file")"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")"; \
		done; \
	done; \
	test $$found = 1 || { echo 'no fuzz target found' >&2; exit 1; }

.PHONY: lint
lint:
	$(GOLANGCI_LINT) run --allow-parallel-runners ./...
	$(GO) mod tidy -diff
	@if [ -f e2e/go.mod ]; then echo 'the same in e2e'; \
		cd e2e && $(GOLANGCI_LINT) run --allow-parallel-runners ./... && $(GO) mod tidy -diff; fi

.PHONY: vuln
vuln:
	$(GOVULNCHECK) ./...

.PHONY: e2e
e2e:
	e2e/run.sh

.PHONY: bench
bench:
	$(GO) run ./bench

.PHONY: bench-quick
bench-quick:
	$(GO) run ./bench --quick

.PHONY: soak
soak:
	$(GO) run ./tools/noskip $(RACE) -shuffle=on -count=20 -timeout=1h ./...
	$(GO) test -count=1 -tags soak -run TestSoak -timeout=1h -p=1 -v ./integration/...
	WEBSOCKET_AUTH_BELIEVE_ALL=1 $(GO) test $(RACE) -count=1 -timeout=1h -run 'TestBelieve$$' ./integration/messages
	WEBSOCKET_AUTH_MODEL=10m $(GO) test $(RACE) -count=1 -timeout=30m -run TestModelOfTheGate -v ./proxy
	$(MAKE) fuzz FUZZTIME=3m
	$(GO) run ./bench --rounds 31
