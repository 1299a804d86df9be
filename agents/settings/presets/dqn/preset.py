"""Defaults of a run of the DQN family by the name of a preset, and how flags change those of others."""

from __future__ import annotations

from collections.abc import Mapping

from agents.settings.presets.base import Values, check_preset, length
from agents.settings.presets.dqn.btr import BTR, EPSILON_SHARE
from agents.settings.presets.dqn.c51 import C51
from agents.settings.presets.dqn.double import DOUBLE
from agents.settings.presets.dqn.dueling import DUELING
from agents.settings.presets.dqn.fast import FAST_ATARI, FAST_VECTOR
from agents.settings.presets.dqn.iqn import IQN
from agents.settings.presets.dqn.munchausen import M_IQN, MUNCHAUSEN
from agents.settings.presets.dqn.nature import NATURE
from agents.settings.presets.dqn.paper import PAPER, paper_by_norm
from agents.settings.presets.dqn.prioritized import PRIORITIZED
from agents.settings.presets.dqn.qr_dqn import QR_DQN
from agents.settings.presets.dqn.rainbow import NOISE_ALONE, RAINBOW_ATARI, RAINBOW_VECTOR
from agents.settings.presets.machine import games_beside_a_gpu

ATARI: dict[str, Values] = {
    "fast": FAST_ATARI,
    "nature": NATURE,
    "paper": PAPER,
    "double": DOUBLE,
    "dueling": DUELING,
    "prioritized": PRIORITIZED,
    "c51": C51,
    "qr-dqn": QR_DQN,
    "iqn": IQN,
    "munchausen": MUNCHAUSEN,
    "m-iqn": M_IQN,
    "rainbow": RAINBOW_ATARI,
    "btr": BTR,
}
"""By name, for Atari games."""
VECTOR: dict[str, Values] = {"fast": FAST_VECTOR, "rainbow": RAINBOW_VECTOR}
"""By name, for any other task."""
OF_DISTRIBUTION: dict[str, tuple[str, ...]] = {
    "categorical": ("atoms", "v_min", "v_max"),
    "quantile": ("quantiles",),
    "implicit": ("acting_taus", "taus", "target_taus", "policy_taus"),
}
OF_PART: dict[str, tuple[str, ...]] = {
    "dueling": ("dueling_gradient_scale",),
    "munchausen": ("munchausen_alpha", "munchausen_temperature", "munchausen_low"),
    "prioritized": ("priority_exponent", "priority_beta"),
    "noisy": ("epsilon_off",),
}
"""Settings that nothing uses without that part."""


def dqn_preset(name: str, *, images: bool, norm: str, flags: Mapping[str, str] = {}) -> Values:
    """Defaults of a run of the DQN family.

    Args:
        name: in `ATARI`, or in `VECTOR` for other tasks.
        images: whether the task shows images, as Atari games do.
        norm: the normalizer; the paper searched the learning rate for each.
        flags: the flags that are given, as text by name; some change the defaults of others.

    Raises:
        ValueError: an unknown name, or a preset that is not defined for the task.
    """
    check_preset(name, ATARI)
    if not images and name not in VECTOR:
        raise ValueError(f"preset {name!r} is defined for Atari games: use it with --game, or --preset fast with --env")
    known = ATARI if images else VECTOR
    values = {"preset": name, **known[name]}
    if name == "fast":
        values |= _of_its_paper(flags, images) | _of_rewards(flags, images)
        values |= games_beside_a_gpu(flags) if "game" in flags else {}
    elif name == "paper":
        values |= paper_by_norm(norm)
    elif name == "btr":
        values["epsilon_off"] = int(EPSILON_SHARE * length(values, flags))
    return _without_conflicts(values, flags, known["fast"]["epsilon_end"])


def _of_its_paper(flags: Mapping[str, str], images: bool) -> Values:
    """Of a return distribution or of Munchausen: the step size of its paper on Atari, its bootstrap anywhere."""
    distribution = flags.get("distribution", "none")
    source = {"categorical": C51, "quantile": QR_DQN, "implicit": IQN}.get(distribution, {})
    if "munchausen" in flags:
        source = M_IQN if distribution == "implicit" else MUNCHAUSEN
    names = ("n_step", "double", *(("learning_rate", "optimizer_eps") if images else ()))
    return {name: source[name] for name in names if name in source}


def _of_rewards(flags: Mapping[str, str], images: bool) -> Values:
    """The atoms for rewards that are not clipped; those of `DQNSettings` are for clipped ones, as in games."""
    if flags.get("distribution") != "categorical":
        return {}
    atoms = {} if images else {name: RAINBOW_VECTOR[name] for name in OF_DISTRIBUTION["categorical"]}
    return {"distribution": "categorical", **atoms}


def _without_conflicts(values: Values, flags: Mapping[str, str], epsilon_end: float) -> Values:
    """The values without those that the flags make meaningless; `epsilon_end` is for networks without noise.

    They have to be allowed before the flags are read too.
    """

    def on(part: str) -> bool:
        return part in flags or (f"no_{part}" not in flags and bool(values.get(part, False)))

    distribution = flags.get("distribution", values.get("distribution", "none"))
    unused = {name for kind, names in OF_DISTRIBUTION.items() if kind != distribution for name in names}
    unused |= {name for part, names in OF_PART.items() if not on(part) for name in names}
    if distribution == "categorical":
        unused.add("huber_delta")
    if distribution != "none" or on("dueling") or on("noisy"):
        unused.add("shared_bias")
    if "eval_episodes" in flags:
        unused.add("eval_steps")
    if flags.get("torso", "impala") != "impala":
        unused |= {"impala_width", "impala_blocks", "impala_pool", "norm_layers"}
    if flags.get("norm", values.get("norm")) != values.get("norm"):
        unused.add("norm_layers")  # of the preset's own normalizer
    changes: Values = {}
    if on("noisy") and not values.get("noisy", False):
        changes = NOISE_ALONE
    elif not on("noisy") and values.get("noisy", False):
        without = {} if values["epsilon_start"] else {"epsilon_start": 1.0, "epsilon_end": epsilon_end}
        changes = {"noisy": False, **without}
    if on("munchausen"):
        changes = {**changes, "double": False}
    return {name: value for name, value in values.items() if name not in unused} | changes
