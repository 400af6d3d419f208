#!/usr/bin/env bash
# Measures trackchat and its peers side by side and writes runs, logs and tables to OUT, see
# README.md. Ends with 1 where a run failed; the others are measured nevertheless.
#
#   cmd/bench/run.sh OUT [STACK...]
#   SCENARIOS="rate kill" ROUNDS=1 SECONDS_EACH=3 DEVICES=200 cmd/bench/run.sh OUT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out=${1:?usage: run.sh OUT [STACK...]}
shift

unset GOMAXPROCS GOGC GOMEMLIMIT GODEBUG # the stacks have their own, or Go's defaults
missing=()
need() { command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }
PATH=$PATH:/usr/sbin # where Debian has mosquitto
need go 'Go (see go.mod for the version)'
need git git
need taskset util-linux
need redis-server redis-server
need mosquitto mosquitto
if ((${#missing[@]})); then
	printf 'run.sh needs these, please install them: %s\n' "${missing[*]}" >&2
	exit 2
fi

mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$root" && go build -o "$work/" ./cmd/trackchat)
(cd "$here" && go build -o "$work/" . github.com/nats-io/nats-server/v2)

flags=()
# flag NAME VALUE: passes a value that is set.
flag() { [[ -z $2 ]] || flags+=("-$1=$2"); }
flag scenarios "${SCENARIOS:-}"
flag rounds "${ROUNDS:-}"
flag kills "${KILLS:-}"
flag memory-rounds "${MEMORY_ROUNDS:-}"
flag send "${SECONDS_EACH:+${SECONDS_EACH}s}"
flag devices "${DEVICES:-}"
flag idle-devices "${IDLE_DEVICES:-}"
flag storm-devices "${STORM_DEVICES:-}"
flag rate "${RATE:-}"
# Whoever ends this ends the benchmark: it stops what it has started.
bench=
trap '[[ -z $bench ]] || kill "$bench" 2>/dev/null; wait' INT TERM
"$work/bench" run -root "$root" -out "$out" -trackchat "$work/trackchat" \
	-nats-server "$work/nats-server" "${flags[@]}" "$@" &
bench=$!
code=0
wait "$bench" || code=$?
wait # where a signal has ended the wait before
exit "$code"
