#!/usr/bin/env bash
# Verifies a bundle and installs it without a network. Nothing of it is used before every file has been verified.
set -euo pipefail
usage="usage: install.sh [--into FOLDER] [--sums SHA256] [--verify] [--without-images] [--without-python]
  --into FOLDER      where the Python environment is made (default: .venv beside this script)
  --sums SHA256      what the SHA-256 of SHA256SUMS must be, as whoever made the bundle said it
  --verify           verify, and install nothing
  --without-images   load no container images
  --without-python   make no Python environment: the images hold everything that the deployed system needs
PYTHON names the Python to use (default: python3; 3.11 or later), DOCKER the command that loads images."
cd "$(dirname "$0")"
into=.venv sums="" verify="" images=1 python=1
while (($#)); do
  case $1 in
    --into) into=$2; shift ;;
    --sums) sums=$2; shift ;;
    --verify) verify=1 ;;
    --without-images) images="" ;;
    --without-python) python="" ;;
    -h | --help) echo "$usage"; exit 0 ;;
    *) echo "$usage" >&2; exit 2 ;;
  esac
  shift
done

fail() { echo "install.sh: $*" >&2; exit 1; }

if [[ -n $sums ]]; then
  [[ $(sha256sum SHA256SUMS | cut -d ' ' -f 1) == "$sums" ]] || fail "SHA256SUMS is not the one that was told: use nothing of this bundle"
fi
sha256sum --check --quiet --strict SHA256SUMS || fail "files differ from SHA256SUMS: copy the bundle again, use nothing of this one"
# What no sum vouches for was put here by somebody else; the environment made here earlier is ours.
unknown=$(find . -path "./${into#./}" -prune -o -path ./deploy/.secrets -prune -o \( -type f -o -type l \) -print \
  | sed 's|^\./||' | grep -vxF SHA256SUMS | grep -vxF -f <(cut -c 67- SHA256SUMS) || true)
[[ -z $unknown ]] || fail "not part of the bundle: $unknown"
echo "verified: $(wc -l < SHA256SUMS) files"
[[ -z $verify ]] || exit 0

if [[ -n $python ]]; then
  "${PYTHON:-python3}" -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; set PYTHON")'
  "${PYTHON:-python3}" -m venv "$into"
  # Exactly the wheels of the list, each by its hash; pip looks nowhere else, whatever is configured on this machine.
  env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null "$into/bin/python" -m pip install --quiet \
    --disable-pip-version-check --no-index --find-links wheels --require-hashes --no-deps --requirement requirements.txt
  echo "installed: $into/bin/fibsem-nuclei"
fi
if [[ -n $images && -s images.txt ]]; then
  for image in images/*.tar; do
    "${DOCKER:-docker}" load --quiet --input "$image"
  done
fi
