#!/usr/bin/env bash
# Gets the daemons that the marketplace's tests run against, into the user's
# cache directory: bitcoind (Debian's bitcoin-knots with its libraries,
# unpacked beside the system, nothing is installed and no root is needed) and
# lnd (built from its module). Prints the directory that holds both.
#
#   test/bitcoin/get.sh            both
#   test/bitcoin/get.sh bitcoind   only the one
#   test/bitcoin/get.sh lnd        only the other: about five minutes, once
#
# Exit 0: they are there. Exit 77: they cannot be had here, and the last line
# says why. ROBOTORQ_BITCOIN_DIR names another directory than the cache's.
set -euo pipefail
export LC_ALL=C
lnd_version=v0.21.3-beta
lnd_sum="h1:Tp1YdwnP0daq/wenwObkaCqe0hckIRnxibN2QKoUv9Y="
lnd_tags="chainrpc invoicesrpc peersrpc routerrpc signrpc walletrpc"
suite=forky # the Debian release that carries bitcoin-knots

dir=${ROBOTORQ_BITCOIN_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/robotorq/bitcoin}
mkdir -p "$dir/bin"
work=$(mktemp -d "$dir/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

cannot() {
	echo "$*" >&2
	exit 77
}

# The first Debian archive that this machine's own apt uses.
mirror() {
	grep -hoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
		grep -v /archive/ | head -1 | tr -d ' '
}

# A private apt world: the machine's sources and its package state are not touched.
get_bitcoind() {
	[ -x "$dir/bin/bitcoind" ] && return 0
	command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
		cannot "bitcoind: no apt-get and dpkg-deb here; put a bitcoind into $dir/bin"
	local from
	from=$(mirror) || true
	[ -n "$from" ] || cannot "bitcoind: apt's sources name no Debian archive; put a bitcoind into $dir/bin"
	local a=$work/apt
	mkdir -p "$a/lists/partial" "$a/cache/archives/partial" "$a/root"
	: >"$a/status"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from $suite main" >"$a/sources.list"
	local apt=(apt-get -qq
		-o Dir::Etc::SourceList="$a/sources.list" -o Dir::Etc::SourceParts=/nonexistent
		-o Dir::State="$a" -o Dir::State::Lists="$a/lists" -o Dir::State::status="$a/status"
		-o Dir::Cache="$a/cache" -o Acquire::Languages=none -o Acquire::Retries=2 -o APT::Update::Error-Mode=any
		-o Debug::NoLocking=1 -o APT::Sandbox::User="$(id -un)")
	"${apt[@]}" update >&2 || cannot "bitcoind: Debian's archive cannot be reached"
	# With an empty package state "install" takes every library along.
	"${apt[@]}" --yes --no-install-recommends --download-only install bitcoin-knots >&2 ||
		cannot "bitcoind: Debian $suite does not give bitcoin-knots"
	local deb
	for deb in "$a"/cache/archives/*.deb; do dpkg-deb -x "$deb" "$a/root"; done
	local triplet loader
	triplet=$(cd "$a/root/usr/lib" && ls -d ./*-linux-gnu* | head -1)
	triplet=${triplet#./}
	loader=$(cd "$a/root" && find usr/lib usr/lib64 -name 'ld-linux*.so.*' 2>/dev/null | head -1)
	[ -n "$loader" ] && [ -x "$a/root/usr/bin/bitcoind" ] || cannot "bitcoind: the packages hold no bitcoind or no loader"
	mkdir "$work/knots"
	cp -a "$a/root/usr/lib/$triplet" "$work/knots/lib"
	cp -aL "$a/root/$loader" "$work/knots/loader"
	cp -a "$a/root/usr/bin/bitcoind" "$work/knots/bitcoind"
	rm -rf "$dir/knots"
	mv "$work/knots" "$dir/knots"
	cat >"$work/bitcoind" <<-WRAP
		#!/bin/sh
		exec "$dir/knots/loader" --library-path "$dir/knots/lib" "$dir/knots/bitcoind" "\$@"
	WRAP
	chmod +x "$work/bitcoind"
	"$work/bitcoind" --version >/dev/null || cannot "bitcoind: the unpacked one does not run here"
	mv "$work/bitcoind" "$dir/bin/bitcoind"
}

# lnd's go.mod has replacements, so "go install …@version" refuses it. The
# module carries its own go.mod and go.sum: it is built as the main module where
# the module cache put it.
get_lnd() {
	[ -x "$dir/bin/lnd-$lnd_version" ] || build_lnd
	ln -sfn "lnd-$lnd_version" "$dir/bin/lnd"
}

build_lnd() {
	command -v go >/dev/null || cannot "lnd: Go is not installed"
	local answer module sum
	answer=$(cd "$work" && go mod download -json "github.com/lightningnetwork/lnd@$lnd_version") ||
		cannot "lnd: the module cannot be downloaded"
	module=$(sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p' <<<"$answer")
	sum=$(sed -n 's/^\t"Sum": "\(.*\)",*$/\1/p' <<<"$answer")
	[ "$sum" = "$lnd_sum" ] || {
		echo "lnd: the module's hash is $sum, not $lnd_sum" >&2
		exit 1
	}
	echo "building lnd $lnd_version, about five minutes" >&2
	GOFLAGS="-buildvcs=false -modcacherw" CGO_ENABLED=0 nice -n 10 \
		go build -C "$module" -trimpath -ldflags "-s -w" -tags "$lnd_tags" -o "$work/lnd" ./cmd/lnd >&2 ||
		cannot "lnd: it does not build here"
	mv "$work/lnd" "$dir/bin/lnd-$lnd_version"
}

case "${1:-both}" in
both)
	get_bitcoind
	get_lnd
	;;
bitcoind) get_bitcoind ;;
lnd) get_lnd ;;
*)
	sed -n 2,14p "$0" >&2
	exit 2
	;;
esac
echo "$dir/bin"
