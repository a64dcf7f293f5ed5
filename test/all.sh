#!/usr/bin/env bash
# Passes all tests, installing what they need on Debian: the README's test
# command. Says plainly what it skipped and why, and ends with
# "N passed, N failed, N skipped" over its steps.
#
#   test/all.sh            everything
#   test/all.sh STEP…      only these steps (names as printed)
set -uo pipefail
cd "$(dirname "$0")/.."
export GOFLAGS="${GOFLAGS:-} -trimpath"
only=("$@")
names=$(sed -n 's/^step \([a-z-]*\) .*/\1/p' test/all.sh)
for s in "${only[@]}"; do
	grep -qxe "$s" <<<"$names" || {
		echo "test/all.sh: there is no step $s; there are" $names >&2
		exit 2
	}
done
passed=0 failed=0 skipped=0
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT

wanted() {
	[ ${#only[@]} -eq 0 ] && return 0
	local s
	for s in "${only[@]}"; do [ "$s" = "$1" ] && return 0; done
	return 1
}

# step NAME COMMAND…: runs a step; exit 77 of the command is a skip.
step() {
	local name=$1
	shift
	wanted "$name" || return 0
	local began=$SECONDS
	echo "── $name"
	"$@"
	local code=$?
	case $code in
	0) passed=$((passed + 1)) && echo "   ok    $name ($((SECONDS - began)) s)" ;;
	77) skipped=$((skipped + 1)) && echo "   skip  $name" ;;
	*) failed=$((failed + 1)) && echo "   FAIL  $name (exit $code, $((SECONDS - began)) s)" ;;
	esac
}

formatted() {
	local files
	files=$(git ls-files '*.go' | xargs gofmt -l) || return 1
	[ -z "$files" ] || {
		echo "not formatted (run gofmt -w):"
		echo "$files"
		return 1
	}
}

# The vulnerability database needs the network: unreachable is a skip, a finding is a failure.
vulnerabilities() {
	local out
	out=$(timeout 300 go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./... 2>&1)
	local code=$?
	if [ $code -ne 0 ] && grep -qiE 'vuln\.go\.dev|dial tcp|no such host|403|fetching vulnerabilities' <<<"$out"; then
		echo "   the vulnerability database cannot be reached from here"
		return 77
	fi
	[ $code -eq 0 ] || echo "$out"
	return $code
}

# Other implementations and engines: Node with @noble/post-quantum, and Debian's
# PostgreSQL and mosquitto, of which the tests start servers of their own.
peers() {
	command -v node >/dev/null || { echo "   Node 20 or later is not installed"; return 77; }
	(cd test/peers && npm ci --silent --no-progress) || return 1
	if ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; then
		if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
			echo "   PostgreSQL is not installed and cannot be installed by this user"
			return 77
		fi
		(apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql) >/dev/null || return 1
	fi
	if ! command -v mosquitto >/dev/null && ! [ -x /usr/sbin/mosquitto ]; then
		if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
			echo "   mosquitto is not installed and cannot be installed by this user"
			return 77
		fi
		(apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mosquitto) >/dev/null || return 1
	fi
	export ROBOTORQ_TEST_PEERS=1 ROBOTORQ_NODE_MODULES="$PWD/test/peers/node_modules"
}

# Debian's Prometheus with promtool, unpacked into the user's cache: rules, metrics
# and every panel of the dashboards are tried on it.
prometheus() {
	local cache="${XDG_CACHE_HOME:-$HOME/.cache}/robotorq/prometheus"
	if [ ! -x "$cache/usr/bin/prometheus" ]; then
		command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "   Prometheus cannot be fetched without apt-get"; return 77; }
		local fetched
		fetched=$(mktemp -d)
		(cd "$fetched" && { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } >/dev/null 2>&1 &&
			mkdir -p "$cache" && dpkg-deb -x prometheus_*.deb "$cache") || { rm -rf "$fetched"; echo "   the package prometheus cannot be fetched"; return 77; }
		rm -rf "$fetched"
	fi
	export ROBOTORQ_PROMETHEUS="$cache/usr/bin"
}

# Real bitcoind and lnd, fetched and built once into the user's cache, with a
# chain of their own: the marketplace's rails, its whole life on them, and the same
# through its pages in Chromium, without which this step fails.
bitcoin() {
	test/bitcoin/get.sh >/dev/null || return
	get_chromium || return 1
	ROBOTORQ_TEST_BITCOIN=1 go test -count=1 -p 1 -timeout 40m -tags browser ./market/chain ./market/lightning ./test/bitcoin/...
}

# Debian's Chromium; axe-core comes with the peers' packages.
get_chromium() {
	if ! command -v chromium >/dev/null; then
		if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
			echo "   Chromium is not installed and cannot be installed by this user"
			return 77
		fi
		(apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium) >/dev/null || { echo "   the package chromium cannot be fetched"; return 77; }
	fi
	command -v node >/dev/null || { echo "   Node, which brings axe-core, is not installed"; return 77; }
	[ -f test/peers/node_modules/axe-core/axe.min.js ] || (cd test/peers && npm ci --silent --no-progress)
}

# Chromium, led through a real demo.
browser() {
	get_chromium || return
	# Most of the tests wait for the demo most of the time.
	go test -count=1 -timeout 15m -parallel 4 -tags browser ./test/browser
}

step format formatted
step modules go mod verify
step vet go vet ./...
step vet-tiny go vet -tags tiny ./...
step staticcheck go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
step vulnerabilities vulnerabilities
step build env CGO_ENABLED=0 go build -o "$bin/robotorq" ./cmd/robotorq
step peers peers
step prometheus prometheus
step test go test -timeout 20m ./...
step test-tiny go test -tags tiny ./archive/... ./proof/... ./torq/...
step tamper go test -count=1 -timeout 30m -tags tiny ./test/tamper
step race go test -race -short -p 1 ./bus/... ./store/... ./digger/... ./refinery/... ./mint/... ./vault/... ./trust/... ./robot/... ./api/... ./node/...
step bitcoin bitcoin
step lives go test -count=1 -timeout 20m -tags whole -run 'Lives?The' ./cmd/robotorq
step browser browser
step whole-system go test -count=1 -timeout 40m -tags whole ./test/... ./deploy

echo
echo "steps: $passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
