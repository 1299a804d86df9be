"""What a kind of agent is: its settings, its presets, and what builds it. Nothing here imports torch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from agents.settings.flat import flat_defaults, from_flat, replace, to_flat
from agents.settings.presets.base import Observation, Preset, of_own_images, of_torso
from agents.settings.presets.protocols import protocol_values
from agents.settings.run import RunSettings, TrainSettings

if TYPE_CHECKING:
    from agents.training.protocols import Agent
    from envs import Environment


@dataclass(frozen=True)
class AgentSpec:
    """A kind of agent, as `agents.registry` lists them by name."""

    name: str
    """In run directories and models."""
    settings: type[Any]
    """The dataclass of its own settings."""
    preset: Preset
    """Defaults of a run's settings and of its own."""
    builder: str
    """`module:function` of what builds it; imported when it is called, since it brings torch."""
    supports_torchrun: bool = False
    """Whether several processes can share a run of it, see `agents.runtime.distributed`."""
    learns_from_games: bool = False
    """Whether it learns nothing until a whole game has ended."""

    def defaults(self, flags: Mapping[str, str], *, observation: Observation) -> TrainSettings[Any]:
        """The settings of a run before its flags are read: those of the preset and of the protocol.

        Args:
            flags: those that are given, as text by name; some change the defaults of others.
            observation: what the task shows, see `agents.training.task.Task.observation`.

        Raises:
            ValueError: an unknown preset, or one that is not defined for the task.
        """
        kind = TrainSettings[self.settings]  # type: ignore[name-defined]
        norm, name = flags.get("norm", "weight"), flags.get("preset", "fast")
        preset = partial(self.preset, name, norm=norm, flags=flags)
        if observation in ("image", "small image"):
            values = of_own_images(preset(images=True), preset(images=False))
        else:
            values = preset(images=observation == "game")
        values = {**values, **of_torso(observation, flags.get("torso", "auto"))}
        protocol = protocol_values(flags.get("protocol", "none"), flat_defaults(kind))
        return from_flat(kind, {**values, **protocol})

    def for_length(self, settings: TrainSettings[Any], steps: int) -> TrainSettings[Any]:
        """The settings of a run for one whose schedules end at another step.

        What its preset makes of that step, such as the end of PQN's ε, follows where the settings have the preset's.
        """
        flat, run = to_flat(settings), settings.run
        changes: dict[str, Any] = {}
        for images in (True, False):
            with suppress(ValueError):  # a preset for games alone
                before, after = (
                    self.preset(run.preset, images=images, norm=run.network.norm, flags={"steps": str(length)})
                    for length in (run.schedule_end, steps)
                )
                changes |= {name: after[name] for name in before if flat[name] == before[name] != after[name]}
        return replace(settings, **changes)

    def build(self, run: RunSettings, settings: Any, environment: Environment) -> Agent:
        """The agent for an environment, on the run's device.

        Args:
            run: settings of the run.
            settings: of the agent, an instance of `self.settings`.
            environment: that it will learn in.

        Raises:
            ValueError: the settings do not fit the environment or the machine.
        """
        module, function = self.builder.split(":")
        return getattr(importlib.import_module(module), function)(run, settings, environment)
