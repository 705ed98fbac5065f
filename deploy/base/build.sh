#!/usr/bin/env bash
# Makes a base image from Debian's packages, for sites where no image can be pulled.
#   deploy/base/build.sh [NAME]        then: BASE_IMAGE=NAME make up
# Needs root, debootstrap and a Docker engine. Authorities that this machine trusts besides Debian's (a site's proxy)
# are trusted in the image too.
set -euo pipefail
name=${1:-fibsem-base:bookworm}
command -v debootstrap >/dev/null || { echo "debootstrap is not installed: apt-get install debootstrap" >&2; exit 1; }
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root" >&2
shopt -s nullglob
for authority in /usr/local/share/ca-certificates/*.crt; do
  install -m 644 "$authority" "$root/usr/local/share/ca-certificates/"
done
chroot "$root" update-ca-certificates >&2
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
tar -C "$root" -c . | docker import --change 'ENV LANG=C.UTF-8' - "$name"
