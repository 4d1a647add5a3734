#!/bin/sh
# The image's steps: build the wheel of a source tree, and install it with its pinned dependencies.
#
#     deploy/image.sh SOURCE TARGET
#
# TARGET becomes a virtual environment that nothing needs to write to again. Python 3.12 or newer is `python3`, or what
# $PYTHON names. Nothing but TARGET is changed: SOURCE may be read-only. The Dockerfile runs this, and so does
# tests/test_deploy.py, where there is no container engine.
set -eu
umask 022

source=$1
target=$2
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

# Built in a copy: a build folder that was left in SOURCE would put files into the wheel that are long gone.
mkdir "$work/source"
for part in posture tui checks baselines pyproject.toml README.md LICENSE NOTICE; do
	cp -R "$source/$part" "$work/source/"
done

"$python" -m venv "$work/build"
"$work/build/bin/python" -m pip install --quiet --require-hashes --requirement "$source/deploy/build-requirements.txt"
"$work/build/bin/python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$work/dist" "$work/source"

"$python" -m venv --without-pip "$target"
pip() { "$work/build/bin/python" -m pip --python "$target/bin/python" --quiet "$@"; }
pip install --require-hashes --requirement "$source/deploy/requirements.txt"
pip install --no-deps --no-index "$work"/dist/posture-*.whl
pip check
