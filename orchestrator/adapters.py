"""Adapters, made when they are first used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from orchestrator.errors import ConfigError
from providers.base import Provider


class Adapters(Mapping[str, Provider]):
    """Adapters by name, made when first used: a command that asks no provider imports none."""

    def __init__(self, makers: Mapping[str, Callable[[], Provider]]) -> None:
        self._makers = dict(makers)
        self._made: dict[str, Provider] = {}

    def __getitem__(self, name: str) -> Provider:
        if name not in self._made:
            try:
                self._made[name] = self._makers[name]()
            except ValueError as error:
                raise ConfigError(f"{name}: {error}", hint=f"see docs/providers/{name}.md and .env.example") from None
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        # Mapping's own asks for the adapter, which would import and make it.
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    async def aclose(self) -> None:
        """Close those that were made."""
        for provider in self._made.values():
            await provider.aclose()
