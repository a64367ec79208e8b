#!/bin/sh
# Resolve the newest versions that pyproject.toml allows and pin them, into run.txt and dev.txt.
set -eu
cd "$(dirname "$0")"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
pip="$tmp/venv/bin/python -m pip --disable-pip-version-check"
$pip install --quiet simpy websockets pydantic networkx matplotlib typer rich pyyaml
$pip freeze --exclude setuptools > "$tmp/run"
$pip install --quiet pytest pytest-timeout pytest-xdist hypothesis ruff mypy \
    nbclient nbformat ipykernel types-networkx types-PyYAML
$pip freeze --exclude setuptools > "$tmp/all"
{ echo "# What qcore needs to run, pinned. Renew with \`make lock\`."; cat "$tmp/run"; } > run.txt
{
  echo "# What the tests, checks and notebooks need on top, pinned. Renew with \`make lock\`."
  echo "-r run.txt"
  grep -vxFf "$tmp/run" "$tmp/all"
} > dev.txt
