#!/bin/sh
# Builds the Debian package of this machine's architecture:
#   deploy/debian/build.sh [OUTPUT-DIRECTORY]
# Needs Go, git and dpkg-deb, no root.
set -eu
cd "$(dirname "$0")/../.."
out=${1:-.}
version=$(git describe --tags --match 'v*' 2>/dev/null | sed 's/^v//' || true)
version=${version:-0.1.0~$(git log -1 --format=%cd --date=format:%Y%m%d).$(git rev-parse --short HEAD)}
arch=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"

mkdir -p "$root/usr/bin" "$root/usr/share/man/man1" "$root/usr/share/bash-completion/completions" \
	"$root/usr/lib/systemd/system" "$root/usr/share/doc/robotorq" "$root/etc/robotorq" "$root/DEBIAN"
CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$version" -o "$root/usr/bin/robotorq" ./cmd/robotorq
"$root/usr/bin/robotorq" man | gzip -9n >"$root/usr/share/man/man1/robotorq.1.gz"
echo 'complete -o default -o bashdefault -C /usr/bin/robotorq robotorq' >"$root/usr/share/bash-completion/completions/robotorq"
cp deploy/systemd/*.service "$root/usr/lib/systemd/system/"
cp LICENSE "$root/usr/share/doc/robotorq/copyright"
gzip -9nc CHANGELOG.md >"$root/usr/share/doc/robotorq/changelog.gz"
cp deploy/debian/environment "$root/etc/robotorq/environment"
cp deploy/debian/postinst deploy/debian/prerm deploy/debian/postrm "$root/DEBIAN/"
chmod 755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm" "$root/DEBIAN/postrm"
chmod 640 "$root/etc/robotorq/environment"
echo /etc/robotorq/environment >"$root/DEBIAN/conffiles"
cat >"$root/DEBIAN/control" <<CONTROL
Package: robotorq
Version: $version
Architecture: $arch
Maintainer: RoboTorq Reserve <packages@robotorq.org>
Installed-Size: $(du -sk "$root" | cut -f1)
Depends: adduser
Section: net
Priority: optional
Homepage: https://robotorq.org
Description: money backed by metered robot work
 A reserve, its proofs, its robots' agents and its wallets in one binary. The
 service keeps its books in /var/lib/robotorq; its pages listen on 127.0.0.1:8080.
CONTROL
dpkg-deb --root-owner-group -Zxz --build "$root" "$out/robotorq_${version}_$arch.deb" >&2
echo "$out/robotorq_${version}_$arch.deb"
