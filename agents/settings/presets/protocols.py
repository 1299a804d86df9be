"""Protocols of Atari: under which conditions scores are measured, with the source of each value."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from agents.settings.presets.base import Values

# Machado et al. 2018 (JAIR 61; pages of arXiv 1709.06009v2). Its scores are those of training, the mean of the last 100
# games: `rollout/ep_rew_mean`. What it leaves open is as in those who follow it: Dopamine (github.com/google/dopamine)
# and DreamerV2 (Hafner et al. 2021), both with 4 frames a step.
MACHADO: Values = {
    "sticky_actions": 0.25,  # section 5.2 (page 12)
    "noop_max": 0,  # the same: sticky actions instead of random starts
    "fire_reset": False,  # Dopamine, atari_lib.py
    "life_loss": False,  # section 3.1 (page 6): an episode ends with the game
    "full_action_set": True,  # table 5
    "frame_skip": 4,  # both
    "max_frames": 108_000,  # DreamerV2, and Dopamine's max_steps_per_episode: 30 minutes
    "eval_epsilon": 0.001,  # Dopamine's epsilon_eval
}

# Mnih et al. 2015.
NATURE: Values = {
    "sticky_actions": 0.0,
    "noop_max": 30,  # extended data table 1: "no-op max"
    "fire_reset": False,  # the published code presses nothing
    "life_loss": True,  # methods, "training details"
    "full_action_set": False,  # the published code plays a game's own actions
    "frame_skip": 4,  # extended data table 1: "action repeat"
    "max_frames": 18_000,  # methods, "evaluation procedure": up to 5 minutes
    "eval_epsilon": 0.05,  # the same
}

PROTOCOLS: dict[str, Values] = {"none": {}, "machado": MACHADO, "nature": NATURE}


def protocol_values(name: str, known: Collection[str]) -> Values:
    """The protocol's values of those settings that there are, by flat name; of an unknown protocol none.

    Args:
        name: of the protocol.
        known: flat names of the settings; agents without ε-greedy exploration have no `eval_epsilon`.
    """
    return {setting: value for setting, value in PROTOCOLS.get(name, {}).items() if setting in known}


WORDS: dict[str, Callable[[Any], str]] = {  # "" for what needs no word
    "sticky_actions": lambda share: f"sticky actions {share:g}" if share else "no sticky actions",
    "noop_max": lambda most: f"up to {most} no-ops" if most else "no no-ops",
    "fire_reset": lambda pressed: "FIRE pressed at the start" if pressed else "FIRE left to the agent",
    "full_action_set": lambda full: "full action set" if full else "minimal action set",
    "life_loss": lambda ends: "life loss in training" if ends else "no life loss",
    "frame_skip": lambda skip: "" if skip == 4 else f"{skip} frames a step",
    "max_frames": lambda most: f"at most {most:,} frames",
}


def conditions(about: Mapping[str, Any], play: Mapping[str, Any]) -> str:
    """In words, the conditions under which a model's scores are measured; empty for other tasks than Atari games.

    Args:
        about: description of the model, as `model.json` has it; those of earlier versions name no protocol.
        play: options of `agents.acting.policies.make_policy`.
    """
    if about["game"] is None:
        return ""
    values = dict(about["emulator"])
    values["life_loss"] = about.get("life_loss", values.get("terminal_on_life_loss"))
    said = (say(values[name]) for name, say in WORDS.items() if values.get(name) is not None)
    words = ", ".join(word for word in said if word)
    name = about.get("protocol", "none")
    chosen = {**values, "eval_epsilon": play.get("epsilon")}
    changed = [setting for setting, value in PROTOCOLS[name].items() if chosen.get(setting) not in (None, value)]
    exceptions = f" except {', '.join(changed)}" if changed else ""
    return words if name == "none" else f"protocol {name}{exceptions}: {words}"
