# Every target works on a fresh Debian machine with Go; `make test` installs what else it needs.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X main.version=$(VERSION)
BUILD    = CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)"

.PHONY: build test faults soak scale arm demo lint bench bench-report bench-go bench-check bench-baseline cross deps clean

build:
	$(BUILD) -o cloudbridge ./cmd/cloudbridge

# The programs that tests start are installed when missing; under CLOUDBRIDGE_TEST_REQUIRE a missing one is a failure.
test: deps lint
	CLOUDBRIDGE_TEST_REQUIRE=1 go test -race -timeout 9m ./...

# Breaks everything while messages flow, and prints what became of them. Takes some minutes; make test has a short version.
faults: deps
	CLOUDBRIDGE_TEST_REQUIRE=1 CLOUDBRIDGE_FAULTS=full go test -count=1 -timeout 30m -v -run TestFaults ./cmd/cloudbridge/internal/faults

# Half an hour of mixed load and faults at random, after which nothing may be lost and nothing may have grown. It draws
# docs/soak.svg. make test has a version of half a minute.
soak: deps
	CLOUDBRIDGE_TEST_REQUIRE=1 CLOUDBRIDGE_SOAK=30m CLOUDBRIDGE_SOAK_OUT=$(CURDIR)/docs \
		go test -count=1 -timeout 60m -v -run TestSoak ./cmd/cloudbridge/internal/soak

# Measures the program with much of everything and with next to nothing, and prints tables. Takes some minutes.
scale: deps
	CLOUDBRIDGE_TEST_REQUIRE=1 CLOUDBRIDGE_SCALE=full go test -count=1 -timeout 30m -v ./cmd/cloudbridge/internal/scale
	CLOUDBRIDGE_SCALE=full go test -count=1 -timeout 10m -v -run 'TestScale' ./bridge

# Runs the programs for a Raspberry Pi on this machine's processor.
arm:
	@packaging/test-deps.sh qemu-user
	CLOUDBRIDGE_TEST_REQUIRE=1 CLOUDBRIDGE_ARM=1 go test -count=1 -timeout 10m -v -run TestArm ./cmd/cloudbridge/internal/scale

demo:
	go run ./cmd/cloudbridge demo

lint:
	@unformatted=$$(go tool gofumpt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted (run: go tool gofumpt -w .):"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...

# Measures cloudbridge beside other bridges, with a benchmark that is no part of this project, and writes the tables of
# docs/performance.md. Most of an hour on a machine that has nothing else to do.
BENCH  ?= ../shared/bench
ROUNDS ?= 3
bench:
	@BENCH="$(BENCH)" ROUNDS="$(ROUNDS)" bench/run

# Writes the tables again from what was measured last.
bench-report: build
	go run ./bench/report -version "$$(./cloudbridge --version)"

# All Go benchmarks, once.
bench-go:
	go test -run '^$$' -bench . -benchmem ./...

# What a message allocates is watched: bench-check compares with the stored baseline and fails where it is more. Left out is
# what needs a broker, and what waits for the disk each time and so depends on its speed.
WATCHED = ./mappings ./internal/queue ./internal/mqtt ./internal/mqtt/wire ./bridge
WATCH   = go test -run '^$$' -bench . -skip '^BenchmarkPublish$$|BlackHole|^BenchmarkAppendFlush$$/^b=1$$' \
	-benchmem -benchtime 100ms -count 6 -cpu 2 $(WATCHED)

bench-check:
	@mkdir -p bench/build
	$(WATCH) > bench/build/check.txt || { cat bench/build/check.txt; exit 1; }
	go run ./bench/check bench/baseline.txt bench/build/check.txt

bench-baseline:
	@mkdir -p bench/build
	$(WATCH) > bench/build/baseline.txt || { cat bench/build/baseline.txt; exit 1; }
	grep -v '^ok\|^PASS' bench/build/baseline.txt > bench/baseline.txt

# Raspberry Pi OS runs arm64, arm v7 or, on the oldest boards, arm v6. No program may reach 16 MiB.
cross:
	GOOS=linux GOARCH=amd64 $(BUILD) -o dist/cloudbridge-linux-amd64 ./cmd/cloudbridge
	GOOS=linux GOARCH=arm64 $(BUILD) -o dist/cloudbridge-linux-arm64 ./cmd/cloudbridge
	GOOS=linux GOARCH=arm GOARM=6 $(BUILD) -o dist/cloudbridge-linux-armv6 ./cmd/cloudbridge
	GOOS=linux GOARCH=arm GOARM=7 $(BUILD) -o dist/cloudbridge-linux-armv7 ./cmd/cloudbridge
	GOOS=linux GOARCH=386 $(BUILD) -o dist/cloudbridge-linux-386 ./cmd/cloudbridge
	@for f in dist/cloudbridge-linux-*; do \
		size=$$(wc -c <"$$f"); echo "$$f: $$size bytes"; \
		if [ "$$size" -ge 16777216 ]; then echo "$$f is 16 MiB or more" >&2; exit 1; fi; \
	done

deps:
	@packaging/test-deps.sh

clean:
	rm -rf cloudbridge dist bench/build
