#!/usr/bin/env bash
# Measures what docs/performance.md reports: the service and its store on core 0, generator and devices on core 1, every case in ROUNDS interleaved rounds.
# One JSON line of `trackersim load` per run goes to OUT/<case>.<round>.json, the tables to OUT/<case>.<round>.txt. Needs two cores, redis-server, taskset and curl.
#
# Ends with 3 where a promise was broken, like the load tool, after all runs.
#
#   docs/performance.sh OUT [CASE...]      cases: see below; default all but the idle ones
#   DEVICES=19000 ROUNDS=1 docs/performance.sh /tmp/figures embedded-idle redis-everysec-idle
#                                         memory per session: vmrss_per_session, rssanon_per_session without file pages
#   DEVICES=10000 ROUNDS=3 SECONDS_EACH=10 docs/performance.sh /tmp/figures embedded-single redis-everysec-single
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:?usage: performance.sh OUT [CASE...]}
shift
devices=${DEVICES:-10000} rounds=${ROUNDS:-3} each=${SECONDS_EACH:-10}
cases=("$@")
if ((${#cases[@]} == 0)); then
	for store in embedded redis-everysec redis-always; do
		for load in single broadcast latency storm healthy unhealthy; do cases+=("$store-$load"); done
	done
fi
mkdir -p "$out"
worst=0 # what this ends with: 3 where a run broke a promise, 1 where one failed otherwise
work=$(mktemp -d)
pids=()
stop() {
	((${#pids[@]} == 0)) || kill "${pids[@]}" 2>/dev/null || true
	wait 2>/dev/null || true
	pids=()
}
trap 'stop; rm -rf "$work"' EXIT
(cd "$root" && go build -o "$work/" ./cmd/trackchat ./cmd/trackersim)
"$work/trackersim" directory --protocol jt808 --devices "$devices" >"$work/directory.yaml"

# start STORE: an empty service on free ports of its own.
start() {
	rm -rf "$work/data"
	mkdir "$work/data"
	local store="backend: embedded, path: $work/data" durability=always
	if [[ $1 == redis-* ]]; then
		durability=${1#redis-}
		taskset -c 0 redis-server --port 17379 --bind 127.0.0.1 --dir "$work/data" --appendonly yes --appendfsync "$durability" --save '' --daemonize no >"$out/redis.log" &
		pids+=($!)
		for _ in $(seq 300); do
			redis-cli -p 17379 ping 2>/dev/null | grep -q PONG && break
			sleep 0.1
		done
		store='backend: redis, redis: { addrs: ["127.0.0.1:17379"] }'
	fi
	cat >"$work/config.yaml" <<-YAML
		store: { $store, durability: $durability }
		api: { listen: "127.0.0.1:17080", rate_limit: 0 }
		admin: { listen: "127.0.0.1:17081" }
		gateway: { listeners: [{ protocol: jt808, listen: "127.0.0.1:17808" }] }
		directory: { file: "$work/directory.yaml" }
		log: { level: warn }
	YAML
	taskset -c 0 "$work/trackchat" serve --config "$work/config.yaml" 2>>"$out/service.log" &
	pids+=($!)
	for _ in $(seq 600); do
		kill -0 "${pids[-1]}" || break
		curl -sf -o /dev/null http://127.0.0.1:17081/readyz && return
		sleep 0.1
	done
	echo "the service did not start, see $out/service.log" >&2
	exit 1
}

# lag: the 99th percentile of what orders had to wait for the event loops in ms, from the service's own histogram.
lag() {
	curl -s http://127.0.0.1:17081/metrics | awk -F'[" ]' '/^trackchat_loop_lag_seconds_bucket/ { le[++n] = $2; count[n] = $NF }
		END { for (i = 1; i <= n; i++) if (count[i] >= 0.99 * count[n]) { print le[i] * 1000; exit } }'
}

load() {
	local pid
	pid=$(IFS=,; echo "${pids[*]}")
	taskset -c 1 "$work/trackersim" load --api http://127.0.0.1:17080 --gateway 127.0.0.1:17808 --protocol jt808 --trackers "1-$devices" --pid "$pid" --duration "${each}s" "$@"
}

for round in $(seq "$rounds"); do
	for name in "${cases[@]}"; do
		start "${name%-*}"
		case ${name##*-} in
		single) args=(--rate "${RATE_SINGLE:-25000}" --connections 128) ;;
		broadcast) args=(--rate "${RATE_BROADCAST:-50000}" --broadcast 300 --connections 16) ;;
		latency) args=(--rate "${RATE_LATENCY:-5000}") ;;
		storm) args=(--storm 10 --broadcast 250 --connections 16) ;;
		healthy) args=(--rate "${RATE_HEALTHY:-2000}") ;;
		idle) # once the start has settled; the devices are there for long enough that every one was heard of and looked after
			sleep 40
			args=(--rate 0 --connections 1 --duration 120s)
			;;
		unhealthy) args=(--rate "${RATE_HEALTHY:-2000}" --no-ack 5% --no-read 5%) ;;
		esac
		code=0
		load --drain 20s --quiet "${args[@]}" >"$out/$name.$round.txt" || code=$?
		if ((code != 0)); then
			echo "$name.$round ended with $code" | tee -a "$out/failed.txt" >&2
			((code != 3)) || worst=3
			((worst != 0)) || worst=1
		fi
		tail -n 1 "$out/$name.$round.txt" >"$out/$name.$round.json"
		echo "$name.$round loop lag p99 $(lag) ms" | tee -a "$out/lag.txt"
		stop
	done
done
exit "$worst"
