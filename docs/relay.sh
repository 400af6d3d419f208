#!/usr/bin/env bash
# Measures what docs/performance.md says under "Relay": a relaying gateway beside HAProxy as a plain TCP proxy (one thread, mode tcp) and beside devices that are connected to their tracking server
# themselves. The proxy is on core 0, devices and tracking server (trackersim upstream) on core 1, every case in ROUNDS interleaved rounds. Needs two cores, taskset, haproxy, curl, and 20,000 descriptors
# for each process: a relayed device takes two of the gateway's.
#
#   docs/relay.sh OUT [CASE...]     WAY-LOAD, default all; a line per run goes to standard output and to OUT/figures.txt, everything else to OUT
#   WAY   direct, haproxy, relay; relay.texts: with TEXTS texts a second by the API meanwhile
#   LOAD  steady: a position every 10 s of each device; full: 100 devices without a pause; idle: nothing is said, memory
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:?usage: relay.sh OUT [CASE...]}
shift
devices=${DEVICES:-9500} rounds=${ROUNDS:-3} each=${SECONDS_EACH:-40} texts=${TEXTS:-50} proto=${PROTO:-wialon}
cases=("$@")
((${#cases[@]} > 0)) || cases=(direct-steady haproxy-steady relay-steady relay.texts-steady haproxy-full relay-full haproxy-idle relay-idle)
mkdir -p "$out"
work=$(mktemp -d)
pids=()
stop() {
	((${#pids[@]} == 0)) || kill "${pids[@]}" 2>/dev/null || true
	wait 2>/dev/null || true
	pids=()
}
trap 'stop; rm -rf "$work"' EXIT
(cd "$root" && go build -o "$work/" ./cmd/trackchat ./cmd/trackersim)
"$work/trackersim" directory --protocol "$proto" --devices "$devices" >"$work/directory.yaml"
key=$(grep -o '[0-9a-f]\{32\}' "$work/directory.yaml" | head -n 1)

# await SECONDS COMMAND...: until it succeeds.
await() {
	local left=$(($1 * 10))
	shift
	until "$@"; do
		((left-- > 0)) || { echo "waited in vain for: $*" >&2; exit 1; }
		sleep 0.1
	done
}

# start WAY: the proxy, empty; its pid is in proxy and its port in port.
start() {
	case $1 in
	direct) port=17300 proxy= ; return ;;
	haproxy)
		port=17301
		cat >"$work/haproxy.cfg" <<-CFG
			global
			  nbthread 1
			  maxconn $((devices + 200))
			defaults
			  mode tcp
			  timeout connect 5s
			  timeout client 10m
			  timeout server 10m
			listen devices
			  bind 127.0.0.1:$port
			  server tracking 127.0.0.1:17300
		CFG
		taskset -c 0 haproxy -db -f "$work/haproxy.cfg" >>"$out/haproxy.log" 2>&1 &
		;;
	*)
		port=17302
		rm -rf "$work/data"
		cat >"$work/config.yaml" <<-YAML
			store: { backend: embedded, path: $work/data }
			api: { listen: "127.0.0.1:17080", rate_limit: 0 }
			admin: { listen: "127.0.0.1:17081" }
			gateway:
			  listeners: [{ protocol: $proto, listen: "127.0.0.1:$port", upstream: { address: "127.0.0.1:17300", dial_rate: 5000 } }]
			  limits: { per_ip: 0 } # all devices come from one address
			directory: { file: "$work/directory.yaml" }
			log: { level: warn }
		YAML
		taskset -c 0 "$work/trackchat" serve --config "$work/config.yaml" 2>>"$out/service.log" &
		;;
	esac
	proxy=$!
	pids+=("$proxy")
	case $1 in
	haproxy) sleep 1 ;;
	*) await 30 curl -sf -o /dev/null http://127.0.0.1:17081/readyz && sleep 2 ;;
	esac
}

cpu() { awk '{ print $14 + $15 }' "/proc/$1/stat"; } # in 1/100 s; no name of ours has blanks
memory() { awk '/^VmRSS|^RssAnon/ { printf "%s ", $2 }' "/proc/$1/status"; }
positions() { tail -n 1 "$work/upstream.txt" | sed 's/.* positions \([0-9]*\) .*/\1/'; }
online() { tail -n 2 "$work/fleet.txt" | grep -q "online $1/$1 "; }

# measure NAME ROUND
measure() {
	local way=${1%-*} load=${1##*-} n=$devices each=$each args=() before='' after='' c0=0 c1=0 p0 p1 t0 t1 fleet upstream
	case $load in
	steady) args=(--position-every 10s) ;;
	full) n=100 each=10 args=(--position-every 50us) ;;
	idle) each=10 ;;
	esac
	: >"$work/upstream.txt"
	: >"$work/fleet.txt"
	taskset -c 1 "$work/trackersim" upstream --protocol "$proto" --listen 127.0.0.1:17300 --duration "$((each + 120))s" >"$work/upstream.txt" &
	upstream=$!
	pids+=("$upstream")
	await 10 grep -q "at 127" "$work/upstream.txt"
	start "$way"
	[[ $load != idle || -z $proxy ]] || sleep 30 # until what the start has left behind is given back
	[[ -z $proxy ]] || before=$(memory "$proxy")
	taskset -c 1 "$work/trackersim" --protocol "$proto" --devices "$n" --gateway "127.0.0.1:$port" --connect-rate 1000 --heartbeat-every 0 --duration "$((each + 60))s" "${args[@]}" >"$work/fleet.txt" &
	fleet=$!
	pids+=("$fleet")
	await 60 online "$n"
	sleep 2
	if [[ $way == *.texts ]]; then
		# one client over one connection, as long as the run
		taskset -c 1 curl -s -o /dev/null --no-progress-meter --rate "$texts/s" "http://127.0.0.1:17080/v2/tracker/chat/send?hash=$key&message=Please+call+the+office&tracker_id=[1-$((texts * each))]" &
		pids+=($!)
	fi
	[[ -z $proxy ]] || c0=$(cpu "$proxy")
	p0=$(positions) t0=$EPOCHREALTIME
	sleep "$each"
	p1=$(positions) t1=$EPOCHREALTIME
	[[ -z $proxy ]] || c1=$(cpu "$proxy") after=$(memory "$proxy")
	[[ $way != relay* ]] || curl -s http://127.0.0.1:17081/metrics >"$out/$1.$2.metrics"
	kill -INT "$fleet"
	await 20 grep -q '^connections lost' "$work/fleet.txt"
	kill -INT "$upstream"
	await 20 grep -q 'positions answered' "$work/upstream.txt"
	cat "$work/fleet.txt" "$work/upstream.txt" | grep -v online >"$out/$1.$2.txt"
	awk -v name="$1.$2" -v n="$n" -v before="$before" -v after="$after" -v cpu=$((c1 - c0)) -v p=$((p1 - p0)) -v s="$(awk -v a="$t0" -v b="$t1" 'BEGIN { print b - a }')" '
		/^connections lost/ { lost = $NF } /^position out/ { sub(/.*answer in */, ""); latency = $0 } /text parts received/ { got = $NF } /^  acknowledged/ && !acked { acked = $NF }
		END {
			split(before, b, " "); split(after, a, " ")
			printf "%-22s positions %d (%.0f/s) latency %s cpu %.2f s", name, p, p / s, latency, cpu / 100
			if (p) printf ", %.1f us a position", cpu * 1e4 / p
			if (before) printf "; a session VmRSS %.0f B, RssAnon %.0f B", (a[1] - b[1]) * 1024 / n, (a[2] - b[2]) * 1024 / n
			printf "; texts %d, acknowledged %d; lost %d\n", got, acked, lost
		}' "$work/fleet.txt" | tee -a "$out/figures.txt"
	stop
}

for round in $(seq "$rounds"); do
	for name in "${cases[@]}"; do measure "$name" "$round"; done
done
