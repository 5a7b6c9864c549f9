#!/bin/sh
# Other servers to measure beside ours, unpacked into a directory: nothing is installed, started or
# changed on this machine. What cannot be had has no row.
set -eu

dir=$1
stamp="$dir/unpacked"
[ ! -e "$stamp" ] || exit 0
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "bench-tools.sh: no apt-get here; only servers that are installed are measured" >&2
    exit 0
fi
mkdir -p "$dir/packages"
[ "$(id -u)" != 0 ] || apt-get update -qq || true
for server in dnsmasq-base unbound knot nsd; do
    # The server and what it needs that is not here.
    packages=$(apt-get install --print-uris -y -qq --no-install-recommends \
        -o Debug::NoLocking=1 "$server" | cut -d' ' -f2 | cut -d_ -f1) || packages=
    for package in $packages; do
        (cd "$dir/packages" && apt-get download -qq "$package") ||
            echo "bench-tools.sh: no $package" >&2
    done
done
for package in "$dir"/packages/*.deb; do
    [ ! -e "$package" ] || dpkg-deb -x "$package" "$dir"
done
rm -rf "$dir/packages"
touch "$stamp"
