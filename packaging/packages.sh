#!/bin/sh
# `make packages`: packages.sh TARGET_DIRECTORY PROFILE
#
# The program is linked against glibc 2.28 (RHEL 8, Debian 10, Ubuntu 18.10 and later) with the
# linker of zig, which comes from PyPI into TARGET_DIRECTORY; where it cannot be had, against the
# glibc that is here. Another profile than dist is built as `cargo build` does it.
set -eu

target=$1
profile=$2
here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"
GLIBC=2.28
say() { echo "packages.sh: $*" >&2; }
host=$(rustc -vV | sed -n 's/^host: //p')
output=$target/packages
rm -rf "$output"

# The versions that it is known to work with.
zig() {
    [ ! -x "$target/zig/done" ] || return 0
    rm -rf "$target/zig"
    python3 -m venv "$target/zig" &&
        "$target/zig/bin/pip" install -q cargo-zigbuild==0.24.0 ziglang==0.17.1 &&
        install -m 755 /dev/null "$target/zig/done"
}

plain() {
    cargo build --locked --profile "$profile" --bin hawser
    directory=$profile
    [ "$profile" != dev ] || directory=debug
    TRIPLE=$host packaging/build.sh "$target/$directory/hawser" "$output"
}

portable() {
    # Nobody needs to know where it was built.
    home=${CARGO_HOME:-$HOME/.cargo}
    RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$home=/cargo --remap-path-prefix=$here=/hawser"
    CFLAGS="${CFLAGS:-} -ffile-prefix-map=$home=/cargo -ffile-prefix-map=$target=/target"
    export RUSTFLAGS CFLAGS CARGO_TARGET_DIR="$target"
    PATH=$target/zig/bin:$PATH
    NATIVE=$target/$host/$profile/hawser
    export NATIVE PATH
    for triple in "$host" x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu; do
        case " $done_ " in *" $triple "*) continue ;; esac
        done_="$done_ $triple"
        if [ ! -d "$(rustc --print target-libdir --target "$triple")" ]; then
            say "none for ${triple%%-*}: its standard library is not here (rustup target add $triple)"
            continue
        fi
        cargo zigbuild --locked --profile "$profile" --target "$triple.$GLIBC" --bin hawser
        binary=$target/$triple/$profile/hawser
        needs=$(grep -aoE 'GLIBC_[0-9]+\.[0-9]+' "$binary" | cut -d_ -f2 | sort -uV | tail -n 1)
        if [ "$(printf '%s\n' "$needs" "$GLIBC" | sort -V | tail -n 1)" != "$GLIBC" ]; then
            say "$binary needs glibc $needs, and it was to need $GLIBC at most"
            exit 1
        fi
        say "$triple: needs glibc $needs"
        TRIPLE=$triple packaging/build.sh "$binary" "$output"
    done
}

done_=
if [ "$profile" = dev ]; then
    plain
elif zig; then
    portable
else
    say "no zig to link with (PyPI: cargo-zigbuild, ziglang): the packages need this machine's glibc,"
    say "$(ldd --version | head -n 1), or a later one"
    plain
fi
ls -l "$output"
