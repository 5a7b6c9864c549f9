#!/bin/sh
# Puts hawser into an image: bake-image.sh PACKAGE [BUNDLE]
#
# For a shell provisioner of Packer, or for a chroot: runs in the image while that is built. Nothing
# is started, and istiod is not called.
set -eu

package=$1
bundle=${2:-}

case $package in
*.deb) apt-get install --yes "$package" ;;
*.rpm) dnf install --assumeyes "$package" ;;
esac

# Without a bundle, every machine brings its own when it boots (cloud-init-url.yaml). That is what
# groups that scale want: the token is fresh, and nobody who has the image has it.
if [ -n "$bundle" ]; then
    # Says for how long the token is good: the image is of no use after that.
    hawser join --no-start --offline "$bundle"
    hawser check
fi

# A certificate is a machine's own: two that start with the same one are the same to the mesh.
if [ -e /var/lib/hawser/identity ]; then
    echo "bake-image.sh: the agent has run in this image; \`hawser leave --purge --yes\` first" >&2
    exit 1
fi
