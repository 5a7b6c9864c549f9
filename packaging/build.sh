#!/bin/sh
# Packs a built daemon: build.sh BINARY OUTPUT_DIRECTORY [deb|rpm|tar|sbom]...
#
# All formats if none is named, and the sums of what lies there. TRIPLE is what it was built for,
# VERSION is for one that is not that of Cargo.toml, NATIVE is for a binary of another machine, QUICK
# is for packages that are not kept: they are hardly compressed.
set -eu

binary=$1
output=$2
shift 2
[ $# -gt 0 ] || set -- deb rpm tar sbom
here=$(cd "$(dirname "$0")/.." && pwd)
VERSION=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/Cargo.toml" | head -n 1)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct 2>/dev/null ||
    stat -c %Y "$here/CHANGELOG.md")}
maintainer="The hawser authors <hawser@users.noreply.github.com>"
homepage=https://github.com/hawser-mesh/hawser
summary="Virtual machines in a service mesh"
export VERSION SOURCE_DATE_EPOCH

need() {
    command -v "$1" >/dev/null || {
        echo "build.sh: $1 is missing; install the package $2" >&2
        exit 1
    }
}

# What it is for, from its ELF header.
case "$(od -An -tx1 -j18 -N1 "$binary" | tr -d ' ')" in
3e) machine=x86_64 debian=amd64 ;;
b7) machine=aarch64 debian=arm64 ;;
*) echo "build.sh: $binary is for a machine that nothing is packed for" >&2 && exit 1 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
stage() {
    [ ! -d "$work/tree" ] || return 0
    install -m 755 "$binary" "$work/hawser"
    # Builds for packages are stripped by the compiler; those for tests are not.
    [ "$machine" != "$(uname -m)" ] || strip --strip-all -R .comment "$work/hawser"
    "$here/packaging/stage.sh" "$work/hawser" "$work/tree"
}

# The maintainer scripts of all formats have the same steps.
script() {
    sed -e "/^#STEPS#/r $here/packaging/steps.sh" -e '/^#STEPS#/d' "$1"
}

deb() {
    need dpkg-deb dpkg
    stage
    cp -a "$work/tree" "$work/deb"
    install -d "$work/deb/DEBIAN"
    for name in postinst prerm postrm; do
        script "$here/packaging/deb/$name" >"$work/deb/DEBIAN/$name"
        chmod 755 "$work/deb/DEBIAN/$name"
    done
    install -D -m 644 "$here/packaging/deb/lintian-overrides" \
        "$work/deb/usr/share/lintian/overrides/hawser"
    # Where this distribution's zsh looks.
    mv "$work/deb/usr/share/zsh/site-functions" "$work/deb/usr/share/zsh/vendor-completions"
    (cd "$work/deb" && find etc -type f | sed 's|^|/|' | sort) >"$work/deb/DEBIAN/conffiles"
    (cd "$work/deb" && find usr -type f | sort | xargs md5sum) >"$work/deb/DEBIAN/md5sums"
    # The oldest glibc that has every symbol the program asks for.
    glibc=$(grep -aoE 'GLIBC_[0-9]+\.[0-9]+' "$work/hawser" | sort -uV | tail -n 1 | cut -d_ -f2)
    gcc=
    ! grep -qaF libgcc_s.so.1 "$work/hawser" || gcc=" libgcc-s1,"
    cat >"$work/deb/DEBIAN/control" <<CONTROL
Package: hawser
Version: $VERSION
Architecture: $debian
Maintainer: $maintainer
Installed-Size: $(du -ks --apparent-size "$work/tree" | cut -f1)
Depends: libc6 (>= $glibc),$gcc nftables, systemd
Provides: istio-sidecar
Section: net
Priority: optional
Homepage: $homepage
Description: $summary
$(sed -e 's/^$/./' -e 's/^/ /' "$here/packaging/description")
CONTROL
    find "$work/deb" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group -Zxz ${QUICK:+-z0} --build "$work/deb" \
        "$output/hawser_${VERSION}_${debian}.deb" >/dev/null
}

rpm() {
    need rpmbuild rpm
    stage
    {
        script "$here/packaging/rpm/hawser.spec"
        echo "%files"
        (cd "$work/tree" && find . ! -type d | sed 's|^\.||' | sort) | while read -r path; do
            case "$path" in
            /etc/*) echo "%config(noreplace) $path" ;;
            /usr/share/licenses/*) echo "%license $path" ;;
            /usr/share/doc/*) echo "%doc $path" ;;
            *) echo "$path" ;;
            esac
        done
        # Directories of others are theirs; those of shells may be there without the shell.
        (cd "$work/tree" && find . -type d \( -path '*/hawser*' -o -path '*/share/zsh/*' \
            -o -path '*/share/fish*' \) | sed 's|^\.|%dir |')
        echo "%changelog"
        echo "* $(LC_ALL=C date -u -d "@$SOURCE_DATE_EPOCH" '+%a %b %d %Y') $maintainer - $VERSION-1"
        echo "- See /usr/share/doc/hawser/changelog.gz"
    } >"$work/hawser.spec"
    # rpmbuild removes the tree that it has packed.
    cp -a "$work/tree" "$work/rpm"
    payload=w6.xzdio
    [ -z "${QUICK:-}" ] || payload=w1.gzdio
    said=$(rpmbuild -bb --quiet --target "$machine-linux" --buildroot "$work/rpm" \
        --define "_topdir $work/rpmbuild" --define "_rpmdir $work" --define "hawser $VERSION" \
        --define "summary $summary" --define "homepage $homepage" \
        --define "maintainer $maintainer" \
        --define "texts $here/packaging" \
        --define "_binary_payload $payload" \
        "$work/hawser.spec" 2>&1) || {
        echo "$said" >&2
        exit 1
    }
    mv "$work/$machine"/*.rpm "$output/"
}

tar_() {
    stage
    cp -a "$work/tree" "$work/tar"
    install -m 644 "$here/packaging/README.image" "$work/tar/usr/share/doc/hawser/README"
    tar -C "$work/tar" --sort=name --owner=0 --group=0 --numeric-owner \
        --mtime="@$SOURCE_DATE_EPOCH" -cf - etc usr |
        gzip -n ${QUICK:+-1} >"$output/hawser-$VERSION-$machine.tar.gz"
}

sbom() {
    "$here/packaging/crates.py" sbom ${TRIPLE:+--target "$TRIPLE"} \
        >"$output/hawser-$VERSION-$machine.cdx.json"
}

mkdir -p "$output"
output=$(cd "$output" && pwd)
for format in "$@"; do
    case "$format" in
    deb | rpm | sbom) "$format" ;;
    tar) tar_ ;;
    *) echo "build.sh: $format: deb, rpm, tar or sbom" >&2 && exit 64 ;;
    esac
done
(cd "$output" && sha256sum -- hawser*-* hawser_* 2>/dev/null | grep -v SHA256SUMS | sort -uk2 >SHA256SUMS) || true
