#!/usr/bin/env bash
# Fuzzes every decoder and parser of the repository and prints how often each was run.
#
#   test/fuzz.sh [--keep] [TIME [LANES [TARGET…]]]     default: 10m, one lane a core, all
#
# A TARGET is package.Name, for example mirror.FuzzState. A finding fails the script and leaves its input below testdata/fuzz. With --keep the
# smallest inputs that reached new code are copied to testdata/fuzz of each package, where
# every `go test` runs them, and the counts are written to docs/fuzzing.md; those of other
# targets stay there.
set -uo pipefail
cd "$(dirname "$0")/.."
keep=no
if [[ ${1:-} == --keep ]]; then keep=yes; shift; fi
time=${1:-10m} lanes=${2:-$(nproc)}
only=("${@:3}")
out=$(mktemp -d)
# What targets write lies in memory, where it can; what Go builds does not.
small=$(mktemp -d "$([[ -w /dev/shm ]] && echo /dev/shm || echo "${TMPDIR:-/tmp}")/fuzz.XXXXXX")
export GOTMPDIR=${GOTMPDIR:-$out}
trap 'rm -rf "$out" "$small"' EXIT
module=$(go list -m) cache=$(go env GOCACHE)/fuzz
most=16 longest=2048 # inputs that are kept of a target, bytes of one

# saved copies the smallest inputs that reached new code and says how many there are.
saved() {
	local dir=$1 target=$2 to="$1/testdata/fuzz/$2" from="$cache/$module/${1#./}/$2"
	if [[ $keep == yes && -d $from ]]; then
		mkdir -p "$to"
		find "$from" -type f -size "-${longest}c" -printf '%s %p\n' | sort -n | head -"$most" | while read -r _ file; do cp "$file" "$to/"; done
	fi
	find "$to" -type f 2>/dev/null | wc -l
}

one() {
	local dir=$1 target=$2 name=${1#./} log count kept
	log="$out/${name//\//_}.$2"
	TMPDIR=$small go test "$dir" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 1x -parallel 1 >"$log" 2>&1
	local code=$?
	# On a loaded machine the fuzzer's own deadline may pass while an input runs (golang/go#48157).
	if ((code != 0)) && grep -q '^ *context deadline exceeded' "$log" && ! grep -q 'Failing input written' "$log"; then code=0; fi
	if ((code == 0)); then
		count=$(grep -o 'execs: [0-9]*' "$log" | tail -1 | grep -o '[0-9]*')
		count=${count:-0} # a loaded machine may not come beyond the seeds
		kept=$(saved "$dir" "$target")
		printf '%-22s %-24s %14s executions %4s kept\n' "$dir" "$target" "$count" "$kept"
		printf '| %s | %s | %s | %s |\n' "${dir#./}" "$target" "$(printf '%s' "$count" | sed ':a;s/\B[0-9]\{3\}\>/,&/;ta')" "$kept" >"$log.row"
	else
		local what="DID NOT RUN"
		grep -q 'Failing input written\|^--- FAIL' "$log" && what="FOUND SOMETHING"
		printf '%-22s %-24s %s\n' "$dir" "$target" "$what"
		tail -30 "$log"
		return 1
	fi
}
export -f one saved
export small time out keep module cache most longest

grep -rl --include='*_test.go' '^func Fuzz' . | sort | while read -r file; do
	grep -o '^func Fuzz[A-Za-z0-9]*' "$file" | while read -r _ target; do
		package=$(dirname "${file#./}")
		[[ ${#only[@]} -eq 0 || " ${only[*]} " == *" $package.$target "* ]] && echo "./$package $target"
	done
done | xargs -P "$lanes" -L 1 bash -c 'one "$0" "$1"'
status=$?

if [[ $keep == yes ]]; then
	{
		cat <<-HEAD
			# Fuzzing

			Every decoder and every parser of what comes from outside has a fuzz target beside
			its tests. What it accepts must be written again to the byte, or be refused with a
			code; noise must never verify, and nothing may panic or allocate what a length
			claims. \`go test\` runs the kept inputs; this table was written by
			\`test/fuzz.sh --keep $time\` with $(go version | cut -d' ' -f3), one worker a target$( ((status == 0)) && echo ", which found nothing").

			| package | target | executions | inputs kept |
			|---|---|---|---|
		HEAD
		{
			cat "$out"/*.row
			[[ ${#only[@]} -eq 0 ]] || grep '^| [a-z]' docs/fuzzing.md | grep -v '^| package ' | grep -vF "$(cut -d'|' -f1-3 "$out"/*.row)"
		} | sort
	} >"$out/fuzzing.md"
	mv "$out/fuzzing.md" docs/fuzzing.md
fi
exit $status
