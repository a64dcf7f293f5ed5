#!/usr/bin/env bash
# Fuzzes every decoder of the repository and prints how often each was run.
#
#   test/fuzz.sh [TIME [LANES]]     default: 10m, one lane a core
#
# A finding fails the script and leaves its input below testdata/fuzz.
set -uo pipefail
cd "$(dirname "$0")/.."
time=${1:-10m} lanes=${2:-$(nproc)}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

one() {
	local dir=$1 target=$2 log="$out/${1//\//_}.$2"
	if go test "$dir" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1x -parallel 1 >"$log" 2>&1; then
		printf '%-22s %-24s %14s executions\n' "$dir" "$target" "$(grep -o 'execs: [0-9]*' "$log" | tail -1 | grep -o '[0-9]*')"
	else
		printf '%-22s %-24s FOUND SOMETHING\n' "$dir" "$target"
		tail -30 "$log"
		return 1
	fi
}
export -f one
export time out

grep -rl --include='*_test.go' '^func Fuzz' . | sort | while read -r file; do
	grep -o '^func Fuzz[A-Za-z0-9]*' "$file" | while read -r _ target; do echo "./$(dirname "${file#./}") $target"; done
done | xargs -P "$lanes" -L 1 bash -c 'one "$0" "$1"'
