#!/usr/bin/env bash
# Makes release archives of what is checked out: docs/release.sh [DIRECTORY], dist if none is named.
# PLATFORMS names others than the usual ones, such as PLATFORMS="linux/arm64".
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-dist}
version=$(git describe --tags --always --dirty)
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

archives=()
for platform in ${PLATFORMS:-linux/amd64 linux/arm64 darwin/arm64}; do
	name=trackchat_${version}_${platform/\//_}
	mkdir "$work/$name"
	CGO_ENABLED=0 GOOS=${platform%/*} GOARCH=${platform#*/} \
		go build -buildvcs=true -trimpath -ldflags='-s -w' -o "$work/$name/" ./cmd/trackchat ./cmd/trackersim
	cp -R README.md SECURITY.md LICENSE configs docs "$work/$name/"
	tar -C "$work" -czf "$out/$name.tar.gz" "$name"
	archives+=("$name.tar.gz")
done
cd "$out"
sha256sum "${archives[@]}" | tee SHA256SUMS
