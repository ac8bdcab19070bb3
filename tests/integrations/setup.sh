#!/bin/sh
# Makes a virtual environment for one pipeline tool: setup.sh PYTHON VENV REQUIREMENTS
# The tool's packages come first and as locked (--no-deps), then gpu-orch with what it still lacks.
# Where packages cannot be had, the reason is left in VENV/why-not.txt, and the tests skip with it.
set -eu
PYTHON=$1 VENV=$2 REQUIREMENTS=$3
if [ ! -f "$VENV/why-not.txt" ] && cmp -s "$REQUIREMENTS" "$VENV/installed.txt"; then exit 0; fi
rm -rf "$VENV/why-not.txt" "$VENV/installed.txt"
echo "setting up $VENV (a minute or two)"
"$PYTHON" -m venv "$VENV"
echo '*' > "$VENV/.gitignore"
if command -v uv >/dev/null 2>&1; then
  install() { uv pip install -q --python "$VENV/bin/python" "$@"; }
else
  install() { "$VENV/bin/python" -m pip install -q --disable-pip-version-check "$@"; }
fi
if { install --no-deps -r "$REQUIREMENTS" && install -e '.[sandbox]'; } > "$VENV/install.log" 2>&1; then
  cp "$REQUIREMENTS" "$VENV/installed.txt"
else
  grep -i error "$VENV/install.log" | tail -n 1 > "$VENV/why-not.txt" || true
  [ -s "$VENV/why-not.txt" ] || echo "see $VENV/install.log" > "$VENV/why-not.txt"
  echo "the packages cannot be installed: $(cat "$VENV/why-not.txt")" >&2
fi
