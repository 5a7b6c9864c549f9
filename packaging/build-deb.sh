#!/bin/sh
# Packs a built daemon into a .deb: build-deb.sh BINARY OUTPUT_DIRECTORY
set -eu

binary=$1
output=$2
here=$(cd "$(dirname "$0")/.." && pwd)

command -v dpkg-deb >/dev/null || {
    echo "build-deb.sh: dpkg-deb is missing; install the package dpkg" >&2
    exit 1
}

version=$("$binary" version | cut -d' ' -f2)
architecture=$(dpkg --print-architecture)
# The oldest glibc that has every symbol the program asks for.
glibc=$(grep -aoE 'GLIBC_[0-9]+\.[0-9]+' "$binary" | sort -uV | tail -n 1 | cut -d_ -f2)

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"

install -D -s -m 755 "$binary" "$tree/usr/bin/hawser"
for unit in hawser hawser-resolved; do
    install -D -m 644 "$here/systemd/$unit.service" "$tree/usr/lib/systemd/system/$unit.service"
done
for unit in path service; do
    install -D -m 644 "$here/systemd/hawser-reload@.$unit" \
        "$tree/usr/lib/systemd/system/hawser-reload@.$unit"
done
install -D -m 644 "$here/systemd/hawser.sysusers" "$tree/usr/lib/sysusers.d/hawser.conf"
install -D -m 644 "$here/packaging/man/hawser.8" "$tree/usr/share/man/man8/hawser.8"
gzip -9n "$tree/usr/share/man/man8/hawser.8"
install -D -m 644 "$here/LICENSE" "$tree/usr/share/doc/hawser/copyright"
install -D -m 644 "$here/CHANGELOG.md" "$tree/usr/share/doc/hawser/CHANGELOG.md"
install -d -m 755 "$tree/etc/hawser"
"$binary" config --template >"$tree/etc/hawser/hawser.toml"
chmod 644 "$tree/etc/hawser/hawser.toml"

install -d -m 755 "$tree/DEBIAN"
install -m 755 "$here/packaging/deb/postinst" "$here/packaging/deb/prerm" \
    "$here/packaging/deb/postrm" "$tree/DEBIAN/"
echo /etc/hawser/hawser.toml >"$tree/DEBIAN/conffiles"
cat >"$tree/DEBIAN/control" <<CONTROL
Package: hawser
Version: $version
Architecture: $architecture
Maintainer: The hawser authors <hawser@localhost>
Section: net
Priority: optional
Depends: libc6 (>= $glibc), systemd
Description: Virtual machines in a service mesh
 Ties a virtual machine to an Istio mesh: proves who the machine is with a
 one-time token, keeps its certificate fresh, serves certificates and
 configuration to a local Envoy, and answers DNS for mesh names.
CONTROL

mkdir -p "$output"
dpkg-deb --root-owner-group --build "$tree" "$output/hawser_${version}_${architecture}.deb"
