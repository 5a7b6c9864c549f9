#!/bin/sh
# What the tests need beside Rust, Python 3 and a C compiler: a Debian to boot, rules for packets, and
# what makes and judges packages.
# Installs what is missing where it may, and says what to install where it may not.
set -eu

missing=
want() { command -v "$1" >/dev/null || missing="$missing $2"; }
want debootstrap debootstrap
want systemd-nspawn systemd-container
want dpkg-deb dpkg
want nsenter util-linux
want mount mount
want musl-gcc musl-tools
want nft nftables
want ip iproute2
want buildah buildah
want iptables iptables
want rpmbuild rpm
want lintian lintian
want rpmlint rpmlint
want strip binutils
# A library and no command: a clock that is wrong, for one program.
set -- /usr/lib/*/faketime/libfaketime.so.1
[ -e "$1" ] || missing="$missing libfaketime"
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "tools.sh: installing$missing"
    apt-get update -qq
    # shellcheck disable=SC2086 # one word each
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "tools.sh: the tests need$missing; install them and run this again" >&2
    exit 1
fi
