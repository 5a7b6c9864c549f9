#!/bin/sh
# Runs fuzz targets one after the other: run.sh [SECONDS_EACH [TARGET...]]
#
# Ends at the first crash, and says which input caused it. What has been learned stays in corpus/.
set -eu

seconds=${1:-60}
case $seconds in
'' | *[!0-9]*)
    echo "usage: $0 [SECONDS_EACH [TARGET...]]" >&2
    exit 2
    ;;
esac
[ $# -eq 0 ] || shift

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# What is built with a sanitizer does not mix with other builds.
CARGO_TARGET_DIR=$(realpath -m -- "${CARGO_TARGET_DIR:-$here/target}")
export CARGO_TARGET_DIR
cd "$here"

# shellcheck disable=SC2046 # one word each
[ $# -gt 0 ] || set -- $(basename -s .rs -a fuzz_targets/*.rs)
for name in "$@"; do
    [ -f "fuzz_targets/$name.rs" ] || { echo "$0: there is no target $name" >&2; exit 2; }
done

if ! command -v cargo-fuzz >/dev/null; then
    cargo install --locked --version '^0.13' cargo-fuzz
    PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
fi

# Sanitizers are a nightly feature of a compiler that is otherwise the stable one.
export RUSTC_BOOTSTRAP=1
# All before the first: none is found not to compile after minutes.
for name in "$@"; do
    cargo fuzz build --fuzz-dir . "$name"
done

for name in "$@"; do
    corpus=corpus/$name seeds=seeds/$name artifacts=artifacts/$name
    mkdir -p "$corpus" "$artifacts"
    [ -d "$seeds" ] || seeds=
    begun=$(mktemp)
    echo "== $name: $seconds s"
    # shellcheck disable=SC2086 # none or one
    if ! cargo fuzz run --fuzz-dir . "$name" "$corpus" $seeds -- \
        -max_total_time="$seconds" -max_len=8192 -timeout=10 \
        -verbosity=0 -print_funcs=0 -print_final_stats=1
    then
        input=$(find "$artifacts" -type f -newer "$begun" | head -n 1)
        rm -f "$begun"
        echo "== $name: crashed${input:+ on $here/$input}" >&2
        exit 1
    fi
    rm -f "$begun"
done
