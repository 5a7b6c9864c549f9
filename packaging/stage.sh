#!/bin/sh
# Lays out what every package holds: stage.sh BINARY TREE
#
# This is the only list of files. All formats are made of the tree, and what a format adds of its own
# (scripts, overrides) is in build.sh. NATIVE is a build of the same program that runs here, where
# BINARY is for another machine; VERSION, where it is not that of Cargo.toml.
set -eu

binary=$1
tree=$2
here=$(cd "$(dirname "$0")/.." && pwd)
file() { install -D -m "$1" "$2" "$tree/$3"; }

file 755 "$binary" usr/bin/hawser
file 755 "$here/packaging/take-over" usr/libexec/hawser/take-over
# By that name it takes the words of Istio's agent; where that belongs, nothing of a package may lie.
ln -s ../../bin/hawser "$tree/usr/libexec/hawser/pilot-agent"
for unit in "$here"/systemd/*.service "$here"/systemd/*.target "$here"/systemd/*.path \
    "$here"/systemd/*.socket; do
    [ ! -e "$unit" ] || file 644 "$unit" "usr/lib/systemd/system/${unit##*/}"
done
file 644 "$here/systemd/hawser.sysusers" usr/lib/sysusers.d/hawser.conf
file 644 "$here/systemd/hawser.tmpfiles" usr/lib/tmpfiles.d/hawser.conf
file 644 "$here/systemd/hawser.preset" usr/lib/systemd/system-preset/80-hawser.preset
file 644 "$here/packaging/low-ports.conf" usr/share/hawser/low-ports.conf
file 644 "$here/packaging/hawser.logrotate" etc/logrotate.d/hawser
file 644 "$here/packaging/hawser.catalog" usr/lib/systemd/catalog/hawser.catalog

# What the program says of itself.
native=${NATIVE:-$binary}
said=$tree/said
"$native" manual --date "$(date -u -d "@$SOURCE_DATE_EPOCH" +%F)" "$said"
for page in "$said"/*.[1-8]; do
    name=${page##*/}
    file 644 "$page" "usr/share/man/man${name##*.}/$name"
    gzip -9n "$tree/usr/share/man/man${name##*.}/$name"
done
"$native" config --template >"$said/hawser.toml"
file 644 "$said/hawser.toml" etc/hawser/hawser.toml
for shell in bash zsh fish; do
    "$native" completions "$shell" >"$said/$shell"
done
file 644 "$said/bash" usr/share/bash-completion/completions/hawser
file 644 "$said/zsh" usr/share/zsh/site-functions/_hawser
file 644 "$said/fish" usr/share/fish/vendor_completions.d/hawser.fish
rm -r "$said"

for text in "$here"/packaging/docs/*; do
    file 644 "$text" "usr/share/doc/hawser/${text##*/}"
done
file 644 "$here/LICENSE" usr/share/licenses/hawser/LICENSE
for example in "$here"/packaging/examples/* "$here"/packaging/container/*; do
    mode=644
    [ ! -x "$example" ] || mode=755
    file "$mode" "$example" "usr/share/doc/hawser/examples/${example##*/}"
done
"$here/packaging/crates.py" copyright ${TRIPLE:+--target "$TRIPLE"} >"$tree/usr/share/doc/hawser/copyright"
"$here/packaging/changelog.py" ${VERSION:+"$VERSION"} >"$tree/usr/share/doc/hawser/changelog"
gzip -9n "$tree/usr/share/doc/hawser/changelog"

find "$tree" -type d -exec chmod 755 {} +
chmod -R u=rwX,go=rX "$tree"
# The same sources give the same packages.
find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
