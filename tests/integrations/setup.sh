#!/bin/sh
# Makes the virtual environment of one pipeline tool: setup.sh PYTHON VENV REQUIREMENTS [PIP OPTIONS]
# The tool's packages come first (with PIP OPTIONS, for example --no-deps for a full lock), then gpu-orch with what it
# still lacks. Where packages cannot be had, the reason is left in VENV/why-not.txt, and the tests skip with it.
set -eu
PYTHON=$1 VENV=$2 REQUIREMENTS=$3
shift 3
if cat "$REQUIREMENTS" pyproject.toml | cmp -s - "$VENV/installed.txt"; then exit 0; fi
echo "setting up $VENV (a minute or two)"
mkdir -p "$VENV"
rm -f "$VENV/why-not.txt" "$VENV/installed.txt"
echo '*' > "$VENV/.gitignore"
UV=$(command -v uv || true)
if [ -n "$UV" ]; then
  make_venv() { "$UV" venv -q --allow-existing --python "$PYTHON" "$VENV"; }
  install() { "$UV" pip install -q --python "$VENV/bin/python" "$@"; }
else
  make_venv() { "$PYTHON" -m venv "$VENV"; }
  install() { "$VENV/bin/python" -m pip install -q --disable-pip-version-check "$@"; }
fi
if { make_venv && install "$@" -r "$REQUIREMENTS" && install -e '.[sandbox]'; } > "$VENV/install.log" 2>&1; then
  cat "$REQUIREMENTS" pyproject.toml > "$VENV/installed.txt"
else
  grep -i 'error' "$VENV/install.log" | tail -n 1 > "$VENV/why-not.txt" || true
  [ -s "$VENV/why-not.txt" ] || echo "see $VENV/install.log" > "$VENV/why-not.txt"
  echo "the packages of $REQUIREMENTS cannot be installed: $(cat "$VENV/why-not.txt")" >&2
fi
