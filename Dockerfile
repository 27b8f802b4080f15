# syntax=docker/dockerfile:1

# The build stage runs on the computer that builds, whatever board the image is for.
FROM --platform=$BUILDPLATFORM golang:1.26-alpine AS build
RUN apk add --no-cache ca-certificates tzdata
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG TARGETVARIANT
ARG VERSION=docker
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH GOARM=${TARGETVARIANT#v} \
    go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /out/cloudbridge ./cmd/cloudbridge
# Scratch has no folders. The state is kept in the first; the second is where demo and emulate put a certificate.
RUN mkdir -p /out/state /out/tmp

# What ships: the program, the certificates by which it knows the clouds, and the time zones.
FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo
COPY --from=build --chown=65532:65532 /out/state /var/lib/cloudbridge
COPY --from=build --chown=65532:65532 /out/tmp /tmp
COPY --from=build /out/cloudbridge /usr/local/bin/cloudbridge
# A number, so that Kubernetes can see that it is not root. Files that are mounted must be readable for it.
USER 65532:65532
VOLUME /var/lib/cloudbridge
# There is no HEALTHCHECK: it would need a program to ask /healthz, and this image holds none but the bridge. An orchestrator
# sees the end of the process.
ENTRYPOINT ["/usr/local/bin/cloudbridge"]
CMD ["run", "--config", "/etc/cloudbridge/cloudbridge.toml"]
