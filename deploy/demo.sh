#!/bin/sh
# The main job in the sandbox: plan, failover, a machine over SSH, teardown, the bill. Needs no account and no network.
set -eu
ORCH="${BIN:?run this through make demo}/orch"
STATE=$(mktemp -d "${TMPDIR:-/tmp}/orch-demo.XXXXXX")
export ORCH_STATE_DIR="$STATE" ORCH_SANDBOX=1
finish() {
  "$ORCH" sandbox stop >/dev/null 2>&1 || true
  rm -rf "$STATE"
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }

say "orch --sandbox up --gpu l40 --policy cheapest-zero-egress --name demo"
"$ORCH" --sandbox up --gpu l40 --policy cheapest-zero-egress --name demo
say "orch ps"
"$ORCH" ps
say "orch exec demo -- nvidia-smi"
"$ORCH" exec demo -- nvidia-smi
say "orch down demo"
"$ORCH" down demo
say "orch sandbox bill"
"$ORCH" sandbox bill
printf '\nThat was the sandbox: real adapters, real HTTP, emulated clouds. With your own keys, leave --sandbox out.\n'
