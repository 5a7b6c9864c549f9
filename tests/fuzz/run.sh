#!/bin/sh
# Runs every fuzz target for some seconds: run.sh SECONDS_EACH
set -eu
cd "$(dirname "$0")"
command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
# The sanitizer is a nightly feature of a compiler that is otherwise the stable one.
export RUSTC_BOOTSTRAP=1
for target in fuzz_targets/*.rs; do
    name=$(basename "$target" .rs)
    echo "== $name"
    cargo fuzz run --fuzz-dir . "$name" -- -max_total_time="$1" -max_len=4096 -verbosity=0
done
