#!/bin/sh
# Install augrank on this machine, without internet, from the parts beside this file:
#
#   sh install.sh DIRECTORY
#
# DIRECTORY is new, empty, or from an earlier call, whose venv, source and files are replaced:
# DIRECTORY/venv gets the packages, DIRECTORY/source the project's source, DIRECTORY/files what the
# kit carries along. PYTHON names another Python $PYTHON than the one in the search path.
set -eu

fail() {
  printf 'Error: %s\n' "$$1" >&2
  exit 1
}

case "$${1:-}" in
  '' | -h | --help)
    sed -n '2,9s/^# \{0,1\}//p' "$$0"
    [ -n "$${1:-}" ] && exit 0 || exit 2
    ;;
esac

kit=$$(CDPATH='' cd -- "$$(dirname -- "$$0")" && pwd)
python=$${PYTHON:-python$PYTHON}
command -v "$$python" > /dev/null || python=python3
command -v "$$python" > /dev/null ||
  fail "there is no Python: expected Python $PYTHON. Install it, or name it: PYTHON=/path/to/python$PYTHON sh install.sh ..."
found=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
[ "$$found" = "$PYTHON" ] ||
  fail "expected Python $PYTHON, got $$found ($$python). Name another: PYTHON=/path/to/python$PYTHON sh install.sh ..., or build the kit with --python $$found."
[ "$$(uname -m)" = "$MACHINE" ] ||
  fail "expected a machine of $MACHINE, got $$(uname -m). Build the kit with another --platform."
glibc=$$("$$python" -c 'import platform; print(platform.libc_ver()[1].split(".")[1])')
[ "$$glibc" -ge "$GLIBC" ] ||
  fail "expected glibc 2.$GLIBC or newer, got 2.$$glibc. Build the kit with --platform manylinux_2_$${glibc}_$MACHINE."

case "$$1" in
  /*) target=$$1 ;;
  *) target=$$(pwd)/$$1 ;;
esac
mark=$$target/.augrank-kit # only where it is may anything be deleted
if [ -e "$$target" ] && [ ! -f "$$mark" ]; then
  [ -d "$$target" ] || fail "$$target is not a directory."
  found=$$(ls -A "$$target") || fail "$$target cannot be read."
  [ -z "$$found" ] ||
    fail "$$target has files that no kit has installed: expected a new or an empty directory. Name another, such as $$target/augrank."
fi

echo "1/4 checking the parts"
(cd "$$kit" && sha256sum --check --quiet --strict SHA256SUMS) ||
  fail "parts are missing or damaged: see above. Copy them again."

mkdir -p "$$target"
: > "$$mark"
unpacked=$$target/.kit
rm -rf "$$unpacked"
mkdir "$$unpacked"
trap 'rm -rf "$$unpacked"' EXIT INT TERM

echo "2/4 unpacking"
cat "$$kit"/kit-[0-9]* | tar -x -f - -C "$$unpacked"

echo "3/4 installing into $$target/venv"
without='$WITHOUT'
"$$python" -m venv --clear $${without:+--system-site-packages} "$$target/venv" ||
  fail "a virtual environment cannot be made. On Debian: apt install python$PYTHON-venv."
pip_install() {
  "$$target/venv/bin/python" -m pip --disable-pip-version-check install --quiet --no-index --no-deps "$$@"
}
pip_install --find-links "$$unpacked/wheels" --require-hashes --requirement "$$unpacked/requirements.txt"
pip_install "$$unpacked"/project/*.whl
rm -rf "$$target/source" "$$target/files"
mkdir "$$target/source"
tar -x -f "$$unpacked"/project/*.tar.gz -C "$$target/source" --strip-components 1
[ ! -d "$$unpacked/files" ] || mv "$$unpacked/files" "$$target/files"

echo "4/4 checking"
"$$target/venv/bin/python" -c 'import augrank'
for package in $$without; do
  "$$target/venv/bin/python" -c 'import importlib.metadata, sys; importlib.metadata.version(sys.argv[1])' "$$package" 2> /dev/null ||
    echo "The kit is without $$package, and this machine has none: what needs it will not run."
done
echo "Done. Next: '$$target/venv/bin/augrank' --help"
