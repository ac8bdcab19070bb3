"""Clock, randomness, ids and dials, injected (defined in `providers.env`, the lowest layer that needs it)."""

from providers.env import Env, ManualEnv, ScaledEnv, SystemEnv

__all__ = ["Env", "ManualEnv", "ScaledEnv", "SystemEnv"]
