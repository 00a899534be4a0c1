# What a newcomer needs: make demo, make check. make help says the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
# Some npm packages carry Go code, which is not ours.
PACKAGES = $(shell go list ./... | grep -v /node_modules/)
UNIT = $(shell go list ./... | grep -v -e /node_modules/ -e '/e2e$$')
GOFILES = $(shell git ls-files -co --exclude-standard '*.go' 2>/dev/null || find . -name '*.go' -not -path '*/node_modules/*')

.PHONY: help
help: ## what can be made
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: build
build: web ## the console, then bin/doorward with it inside
	go build -ldflags '$(LDFLAGS)' -o bin/doorward ./cmd/doorward

.PHONY: web
web: web/dist/index.html ## the console

web/node_modules/.package-lock.json: web/package-lock.json web/package.json
	cd web && npm ci --no-audit --no-fund
	@touch $@

web/dist/index.html: web/node_modules/.package-lock.json $(shell find web/src web/public web/index.html web/vite.config.ts web/tsconfig.json -type f 2>/dev/null)
	cd web && npm run build
	@touch $@

.PHONY: demo
demo: setup-demo build ## the main job on a private PostgreSQL, explained step by step (CI=1: without questions)
	DOORWARD_BIN=$(CURDIR)/bin/doorward go run ./e2e/demo

.PHONY: setup-demo
setup-demo:
	@scripts/setup.sh demo

.PHONY: setup
setup: ## install what the tests need and do not find
	scripts/setup.sh

.PHONY: kubernetes
kubernetes: ## the programs of the Kubernetes test cluster, into the user's cache (slow the first time)
	scripts/kubernetes.sh

.PHONY: check
check: setup kubernetes lint web test-web build test e2e ## everything that CI runs

.PHONY: quick
quick: fmt vet ## the fast part of check, for while you work
	go test -p 2 -short $(UNIT)

.PHONY: lint
lint: fmt vet staticcheck ## formatting, go vet, staticcheck

.PHONY: fmt
fmt:
	@bad=$$(gofmt -l $(GOFILES)); if [ -n "$$bad" ]; then echo "not formatted (gofmt -w fixes it):"; echo "$$bad"; exit 1; fi

.PHONY: vet
vet: web
	go vet $(PACKAGES)

.PHONY: staticcheck
staticcheck: web
	go run $(STATICCHECK) $(PACKAGES)

.PHONY: test
test: web ## unit tests, with the race detector
	go test -race -p 2 -timeout 25m $(UNIT)
	go test -run Alloc ./internal/mask ./internal/wire/postgres ./internal/tape

.PHONY: test-web
test-web: web ## types, style and unit tests of the console
	cd web && npm run lint && npm test

.PHONY: e2e
e2e: build e2e/node/node_modules/.package-lock.json ## real clients and attacks against real servers
	DOORWARD_BIN=$(CURDIR)/bin/doorward go test -p 1 -count 1 -timeout 50m -v ./e2e

e2e/node/node_modules/.package-lock.json: e2e/node/package-lock.json
	cd e2e/node && npm ci --no-audit --no-fund
	@touch $@

.PHONY: bench
bench: build ## direct, pgbouncer and doorward side by side: a table and bench/results.json
	scripts/setup.sh bench
	DOORWARD_BIN=$(CURDIR)/bin/doorward go run ./bench $(BENCH)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (default 20s)
	scripts/fuzz.sh $${FUZZTIME:-20s}

.PHONY: clean
clean: ## remove what was built
	rm -rf bin web/dist bench/results.json
