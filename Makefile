# Every target works on a fresh Debian machine with Go; `make test` installs what else it needs.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X main.version=$(VERSION)
BUILD    = CGO_ENABLED=0 go build -trimpath -ldflags "$(LDFLAGS)"

.PHONY: build test faults scale arm demo lint bench cross deps clean

build:
	$(BUILD) -o cloudbridge ./cmd/cloudbridge

# The programs that tests start are installed when missing; under CLOUDBRIDGE_TEST_REQUIRE a missing one is a failure.
test: deps lint
	CLOUDBRIDGE_TEST_REQUIRE=1 go test -race -timeout 9m ./...

# Breaks everything while messages flow, and prints what became of them. Takes some minutes; make test has a short version.
faults: deps
	CLOUDBRIDGE_TEST_REQUIRE=1 CLOUDBRIDGE_FAULTS=full go test -count=1 -timeout 30m -v -run TestFaults ./cmd/cloudbridge/internal/faults

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

bench:
	go test -run '^$$' -bench . -benchmem ./...

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
	rm -rf cloudbridge dist
