#!/usr/bin/env bash
# Mutation tests of the packages named, or of all in docs/mutation.md, which says more. PART of the
# lines, drawn with SEED, is mutated (1: all). OUT keeps the reports, TESTS is for go test -run, and
# WORKERS mutants are tried at once: more than one where tests wait more than they compute.
set -euo pipefail
cd "$(dirname "$0")/.."
VERSION=v0.6.0 LEAST=85 # per cent of the mutants that the tests have to notice
: "${WORKERS:=1}" "${PART:=0.1}" "${SEED:=1}" "${TIMEOUT:=8}" "${OUT:=$(mktemp -d)}"
(($#)) || set -- protocol/{egts,fmi,galileosky,jt808,teltonika,wialon} gateway queue/*store
tools=${XDG_CACHE_HOME:-$HOME/.cache}/trackchat/tools
gremlins=$tools/gremlins-$VERSION
if [[ ! -x $gremlins ]]; then
	GOFLAGS= GOBIN=$tools go install "github.com/go-gremlins/gremlins/cmd/gremlins@$VERSION"
	mv "$tools/gremlins" "$gremlins"
fi
mkdir -p "$OUT" && OUT=$(realpath "$OUT")
TRACKCHAT_VECTORS=$(realpath "${TRACKCHAT_VECTORS:-../shared/vectors}")
tree=$(mktemp -d) && mkdir "$tree/bin"
trap 'git worktree remove --force "$tree/repo"; rm -rf "$tree"' EXIT
# gremlins --diff takes lines that differ from a commit: in this checkout those drawn do from HEAD.
git worktree add --quiet --detach "$tree/repo"
(
	cd "$tree/repo"
	git ls-files "$@" | grep '\.go$' | grep -vE '_test\.go$|^gateway/.*/' | while read -r file; do
		awk -v p="$PART" -v s="$((SEED++))" \
			'BEGIN { srand(s) } { print $0 (rand() < p ? " //" : "") }' "$file" >../drawn
		cp ../drawn "$file"
	done
	git -c user.name=x -c user.email=x commit --quiet --allow-empty -am 'Change the lines drawn'
	git checkout --quiet HEAD~1 -- .
)
# go, as gremlins runs it: a mutant that does not compile is not killed but not viable (2), and all
# lines count as covered, so that constants, cases and what no test reaches are mutated as well.
cat >"$tree/bin/go" <<'SHIM'
#!/usr/bin/env bash
[[ $1 == test ]] || exec "$GO" "$@"
out=$("$GO" test -vet=off -count=1 ${TESTS:+-run "$TESTS"} "${@:2}" 2>&1) && code=0 || code=$?
[[ $out != *' failed]'* ]] || exit 2
for arg; do
	[[ ! -f $arg ]] || sed -nE 's/^([^:]*\.go):.*/\1:1.1,99999.1 1 1/p' "$arg" | sort -u >>"$arg"
done
printf '%s\n' "$out" && exit $code
SHIM
chmod +x "$tree/bin/go" && GO=$(command -v go)
export GO TRACKCHAT_VECTORS PATH=$tree/bin:$PATH GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=diff.relative
export GIT_CONFIG_VALUE_0=true GIT_CONFIG_KEY_1=diff.context GIT_CONFIG_VALUE_1=0
for package; do # invert-negatives makes nothing that arithmetic-base does not
	(cd "$tree/repo/$package" && "$gremlins" unleash --diff HEAD --exclude-files / --workers "$WORKERS" \
		--timeout-coefficient "$TIMEOUT" --invert-{assignments,bitwise,bwassign,logical,loopctrl} \
		--remove-self-assignments --invert-negatives=false -o "$OUT/report" "$PWD") >"$OUT/log"
	jq -r --arg p "$package" --argjson least $LEAST '
		[.files[] | .file_name as $f | .mutations[] | .at = "\($p)/\($f):\(.line):\(.column) \(.type)"]
		| map(select(.status == "KILLED" or .status == "TIMED OUT")) as $seen
		| map(select(.status == "LIVED")) as $not | ($seen + $not | length) as $all
		| (100 * ($seen | length) / ([$all, 1] | max) | floor) as $score
		| "\($p): \($seen | length) of \($all) mutants, \($score) %",
			($not[] | "  survives \(.at)"),
			($seen[] | select(.status == "TIMED OUT") | "  runs on \(.at)"),
			if $score < $least then "  too few" else empty end' "$OUT/report" | tee -a "$OUT/summary"
done
! grep -q '^  too few' "$OUT/summary"
