#!/bin/sh
# Programs of others, to compare ours with or to judge what it writes: servers.sh DIRECTORY PACKAGE...
#
# Unpacked into the directory: nothing is installed, started or changed on this machine. What cannot
# be had is said, and is then missing.
set -eu

dir=$1
shift
export DEBIAN_FRONTEND=noninteractive
mkdir -p "$dir/packages"
for server in "$@"; do
    [ ! -e "$dir/$server" ] || continue
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        echo "servers.sh: no apt-get here to get $server with" >&2
        continue
    fi
    echo "servers.sh: unpacking $server"
    # The server, and what it needs that is not here.
    needed() {
        apt-get install --print-uris -y -qq --no-install-recommends -o Debug::NoLocking=1 "$server"
    }
    if ! needed >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
        apt-get update -qq || true
    fi
    packages=$(needed | cut -d' ' -f2 | cut -d_ -f1) || packages=
    # It is here already, so it can be used as it is.
    [ -n "$packages" ] || continue
    for package in $packages; do
        (cd "$dir/packages" && apt-get download -qq -o APT::Sandbox::User=root "$package") ||
            echo "servers.sh: no $package" >&2
    done
    for package in "$dir"/packages/*.deb; do
        [ ! -e "$package" ] || dpkg-deb -x "$package" "$dir"
    done
    rm -f "$dir"/packages/*.deb
    touch "$dir/$server"
done
