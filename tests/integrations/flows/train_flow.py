"""A Prefect flow with one task that rents an L40, trains on it, brings the result home, and leaves nothing behind.

It is an ordinary flow: where it rents (sandbox or real providers) is told by the environment, as for `orch` itself.
`tests/integrations/test_prefect.py` runs it with the real prefect package.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from prefect import flow, task

from orchestrator.sync import Orchestrator

# What stands for training: it asks the machine for its GPU and writes the result file.
TRAIN = """gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader)
printf '{"gpu": "%s", "loss": 0.25}' "$gpu" > result.json"""


@task
def train(command: str, name: str, result: Path) -> dict[str, Any]:
    """Rent, run *command*, fetch its ``result.json``; the machine ends with the block, whatever happens in it."""
    with Orchestrator() as orch:
        with orch.rented(gpu="l40", policy="cheapest-zero-egress", hours=1, name=name) as machine:
            machine.run(command)
            machine.get("result.json", result)
        assert machine.receipt is not None
        return {
            "result": json.loads(result.read_text(encoding="utf-8")),
            "provider": machine.lease.provider,
            "evidence": machine.receipt.evidence,
            "cost_usd": str(machine.receipt.cost_usd),
        }


@flow
def training(command: str, name: str, result: str, retries: int = 0) -> dict[str, Any]:
    """Train on a rented GPU and return the result with the proof of the end."""
    return train.with_options(retries=retries)(command, name, Path(result))


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--command", default=TRAIN)
    words.add_argument("--name", default="training")
    words.add_argument("--result", default="result.json")
    words.add_argument("--retries", type=int, default=0)
    print(json.dumps(training(**vars(words.parse_args()))))
