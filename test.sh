#!/usr/bin/env bash
# Installs what the tests need and passes them all: formatting, vet, lint, tidiness, every test with
# the race detector, a short run of each fuzz target.
set -euo pipefail
cd "$(dirname "$0")"

LINT_VERSION=v2.15.0
AXE_VERSION=4.14.1
PRETTIER_VERSION=3.10.1
FUZZ_TIME=${FUZZ_TIME:-6s}
tools=${XDG_CACHE_HOME:-$HOME/.cache}/trackchat/tools
step() { printf '\n== %s\n' "$*"; }

# need COMMAND PACKAGE...: installs Debian packages as root, elsewhere says what is missing.
missing=()
need() {
	local command=$1
	shift
	command -v "$command" >/dev/null 2>&1 && return 0
	missing+=("$@")
}
need gcc gcc libc6-dev
need git git
need redis-server redis-server
need curl curl
need chromium chromium fonts-noto-core fonts-noto-color-emoji
need promtool prometheus
need haproxy haproxy
need mosquitto mosquitto
need npm npm
need node nodejs
need strace strace
if ((${#missing[@]})); then
	if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null 2>&1; then
		printf 'test.sh needs these programs, please install them: %s\n' "${missing[*]}" >&2
		exit 1
	fi
	step "installing ${missing[*]}"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
if ! command -v go >/dev/null 2>&1; then
	echo 'test.sh needs Go; see go.mod for the version' >&2
	exit 1
fi

lint=$tools/golangci-lint-$LINT_VERSION
if [[ ! -x $lint ]]; then
	step "building golangci-lint $LINT_VERSION"
	mkdir -p "$tools"
	GOFLAGS= GOBIN=$tools go install \
		"github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$LINT_VERSION"
	mv "$tools/golangci-lint" "$lint"
fi

# from_npm PACKAGE VERSION: unpacks a package without dependencies into $tools.
from_npm() {
	local folder=$tools/$1-$2 work
	[[ ! -d $folder ]] || return 0
	step "getting $1 $2"
	work=$(mktemp -d "$tools/npm.XXXXXX")
	(cd "$work" && npm pack --silent "$1@$2" >/dev/null && tar -xzf "$1"-*.tgz)
	mv "$work/package" "$folder"
	rm -rf "$work"
}
from_npm axe-core "$AXE_VERSION"
from_npm prettier "$PRETTIER_VERSION"
# The browser's tests run it on each page.
export AXE_SCRIPT=$tools/axe-core-$AXE_VERSION/axe.min.js

step 'formatting'
unformatted=$(gofmt -l $(git ls-files '*.go'))
if [[ -n $unformatted ]]; then
	printf 'not gofmt-ed:\n%s\n' "$unformatted" >&2
	exit 1
fi
node "$tools/prettier-$PRETTIER_VERSION/bin/prettier.cjs" --log-level warn --check \
	'api/console/**/*.js' 'api/console/**/*.css'
step 'go mod tidy'
go mod tidy -diff
step 'go vet'
go vet ./...
GOOS=darwin GOARCH=arm64 go vet ./gateway/... ./protocol/... ./queue/... ./api/... ./cmd/...
step 'golangci-lint'
"$lint" run --allow-parallel-runners ./...

# The fuzzers are built beside the tests, which wait more than they compute, and cmd/bench, a module
# of its own, is built and read there.
fuzzers=$(mktemp -d)
builder=
trap '[[ -z $builder ]] || kill "$builder" 2>/dev/null || true; rm -rf "$fuzzers"' EXIT
targets=$(git ls-files '*_test.go' | xargs grep -oE '^func Fuzz[A-Z][A-Za-z0-9_]*' |
	sed -E 's|^(.*)/[^/]*:func |\1 |')
build_fuzzers() {
	cut -d' ' -f1 <<<"$targets" | sort -u | while read -r package; do
		nice -n 19 go test -c -fuzz=. -o "$fuzzers/$package/fuzzer" "./$package"
	done
}
check_bench() {
	cd cmd/bench
	nice -n 19 go mod tidy -diff
	nice -n 19 go vet ./...
	nice -n 19 "$lint" run --allow-parallel-runners ./...
	nice -n 19 go test -run '^$' ./...
	nice -n 19 go build -o "$fuzzers/" github.com/nats-io/nats-server/v2 # which its tests start
}
{
	build_fuzzers
	check_bench
} >"$fuzzers/log" 2>&1 &
builder=$!

# frames says which device frames the tests of the protocols replay, see
# protocol/protocoltest/vectors.go.
frames() {
	local folder=${TRACKCHAT_VECTORS:-../shared/vectors} name all=() own
	count() { cat "${@:2}" | grep -cE "\"kind\": ?\"($1)\"" || true; }
	own="$(count derived protocol/*/testdata/vectors.jsonl) derived from collected ones"
	own+=", $(count generated protocol/*/testdata/vectors.jsonl) generated"
	for name in egts galileosky garmin-fmi jt808 teltonika watch wialon-ips; do
		[[ ! -f $folder/$name.jsonl ]] || all+=("$folder/$name.jsonl")
	done
	if ((${#all[@]})); then
		echo "frames tested: $own, $(count 'captured|manual|spec|test-suite(-body)?' "${all[@]}")" \
			"collected, which are in $folder"
	elif [[ -n ${CI:-}${TRACKCHAT_VECTORS:-} ]]; then
		echo "frames: $own; none collected, as $folder is not there:" \
			'that is a failure where CI or TRACKCHAT_VECTORS is set'
	else
		echo "frames tested: $own; none collected, as $folder is not there; CI is not set"
	fi
}

step 'tests'
frames
# The longest first, and not all of those at once that start many processes. SQLite itself, which
# Go has translated from C, is not watched for races: that would take most of the time. It holds no
# generic code; a package that does must not be left out, or the linker may take its copy of what
# others share, such as sync.Map, and races are reported that are none.
CGO_ENABLED=1 go test -race '-gcflags=modernc.org/sqlite/lib=-race=false' \
	-shuffle=on -count=1 -timeout 20m -p 3 -parallel 4 \
	./cmd/trackchat ./queue/redisstore ./queue/sqlitestore ./cmd/trackchat/browser ./gateway ./api \
	./cmd/trackchat/app ./...

step 'building the fuzzers and cmd/bench'
wait "$builder" || {
	cat "$fuzzers/log" >&2
	exit 1
}
builder=

step 'tests of cmd/bench'
(cd cmd/bench && go test -count=1 -timeout 10m ./...)

# fuzz PACKAGE TARGET: a finding comes with a failing input. Without one, Go's fuzzer has only
# reported its own time limit as an error, which means that nothing was found.
fuzz() {
	local out
	cd "$1"
	if out=$("$fuzzers/$1/fuzzer" -test.run='^$' -test.fuzz="^$2\$" -test.parallel=1 \
		-test.fuzztime="$FUZZ_TIME" -test.fuzzminimizetime=10x \
		-test.fuzzcachedir="$fuzzers/$1/corpus" 2>&1) && [[ $out != *'no fuzz tests'* ]]; then
		printf '%s %s\n' "$1" "$2"
	elif [[ $out == *'context deadline exceeded'* && $out != *'Failing input'* &&
		$out != *panic* && $out != *_test.go:* ]]; then
		printf '%s %s: out of time, nothing found\n' "$1" "$2"
	else
		printf '%s %s\n%s\n' "$1" "$2" "$out" >&2
		return 1
	fi
}
export -f fuzz
export FUZZ_TIME fuzzers

step "fuzzing, $FUZZ_TIME each, two at a time"
xargs -P 2 -L 1 bash -c 'fuzz "$0" "$1"' <<<"$targets"
frames
step 'all passed'
