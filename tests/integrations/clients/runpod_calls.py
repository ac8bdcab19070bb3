"""Run by the official `runpod` package: every call about machines. Prints how each one ended, as one JSON object."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import runpod

runpod.api_key = os.environ["RUNPOD_API_KEY"]
CALLS: dict[str, Callable[[], Any]] = {
    "get_user": runpod.get_user,
    "get_gpus": runpod.get_gpus,
    "get_gpu": lambda: runpod.get_gpu("NVIDIA L40S"),
    "get_pods": runpod.get_pods,
    "get_pod": lambda: runpod.get_pod("5xpma5eg46tqjq"),
    "create_pod": lambda: runpod.create_pod("orch", "runpod/pytorch", "NVIDIA L40S"),
    "stop_pod": lambda: runpod.stop_pod("5xpma5eg46tqjq"),
    "resume_pod": lambda: runpod.resume_pod("5xpma5eg46tqjq", 1),
    "terminate_pod": lambda: runpod.terminate_pod("5xpma5eg46tqjq"),
}


def ended(call: Callable[[], Any]) -> str:
    """The name of the error, or ``fine``."""
    try:
        call()
    except Exception as error:
        return type(error).__name__
    return "fine"


public = sorted(name for name in runpod.__all__ if "pod" in name or name.startswith("get_"))
print(json.dumps({"version": runpod.__version__, "public": public, "calls": {n: ended(c) for n, c in CALLS.items()}}))
