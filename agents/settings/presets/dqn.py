"""Defaults of a run by name: what each value is, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping

from agents.settings.presets.base import REPLAY_VECTOR, Values, check_preset


def dqn_preset(name: str, *, images: bool, norm: str, flags: Mapping[str, str] = {}) -> Values:
    """Defaults of a run of the DQN family.

    Args:
        name: `fast`, `nature`, `paper` or `rainbow`.
        images: whether the task is an Atari game; `nature` and `paper` are defined for these alone.
        norm: the normalizer; the paper searched the learning rate for each.
        flags: the flags that are given, as text by name; some change the defaults of others.

    Raises:
        ValueError: an unknown name, or a preset that is not defined for the task.
    """
    check_preset(name, ("fast", "nature", "paper", "rainbow"))
    if name in ("nature", "paper") and not images:
        raise ValueError(f"preset {name!r} is defined for Atari games: use it with --game, or --preset fast with --env")
    fast = FAST_ATARI if images else FAST_VECTOR
    values: dict[str, Values] = {
        "fast": fast,
        "nature": NATURE,
        "paper": {**NATURE, **PAPER, **_paper_by_norm(norm)},
        "rainbow": {**fast, **RAINBOW, **(RAINBOW_ATARI if images else RAINBOW_VECTOR)},
    }
    chosen = {"preset": name, **values[name]}
    if flags.get("distribution", "categorical") != "categorical":
        chosen = {key: value for key, value in chosen.items() if key not in ("atoms", "v_min", "v_max")}
    if "no_noisy" in flags and name == "rainbow":
        chosen |= {"noisy": False, "epsilon_start": 1.0, "epsilon_end": fast["epsilon_end"]}
    return chosen | (NOISE_ALONE if "noisy" in flags else {}) | ({"double": False} if "munchausen" in flags else {})


NOISE_ALONE: Values = {"epsilon_start": 0.0, "epsilon_end": 0.0}

# Mostly common choices in the field; docs/results.md says what was tried.
FAST_ATARI: Values = {
    "learning_rate": 1.5e-4,
    "batch_size": 64,  # 64 per 8 steps reuse each transition as often as 32 per 4, for less work on a CPU
    "train_interval": 8,
    "replay_size": 400_000,
    "learning_starts": 8_000,
    "target_interval": 1_000,
    "epsilon_end": 0.01,
    "epsilon_steps": 150_000,
    "double": True,
    "n_step": 3,
}

FAST_VECTOR: Values = {
    **REPLAY_VECTOR,
    "tau": 0.02,
    "n_step": 3,
    "epsilon_end": 0.05,
    "epsilon_steps": 10_000,
    "double": True,
    "eval_epsilon": 0.0,
    "log_interval": 1_000,
}

# Hessel et al. 2018, table 1; what is not here is as in FAST_ATARI and FAST_VECTOR.
RAINBOW: Values = {
    "double": True,
    "dueling": True,
    "noisy": True,
    "distribution": "categorical",
    "prioritized": True,
    "priority_exponent": 0.5,
    "priority_beta": 0.4,
    "n_step": 3,
    **NOISE_ALONE,
}

RAINBOW_ATARI: Values = {
    "learning_rate": 6.25e-5,
    "optimizer_eps": 1.5e-4,
    "batch_size": 32,
    "train_interval": 4,
    "replay_size": 1_000_000,
    "learning_starts": 20_000,  # 80,000 frames
    "target_interval": 8_000,  # 32,000 frames
    "atoms": 51,
    "v_min": -10.0,
    "v_max": 10.0,
}

RAINBOW_VECTOR: Values = {
    "atoms": 101,
    "v_min": -100.0,  # rewards of size 1 at gamma 0.99
    "v_max": 100.0,
}

# Mnih et al. 2015, extended data table 1, unless another source is next to the value.
NATURE: Values = {
    "norm": "none",
    "num_envs": 1,
    "steps": 50_000_000,  # 200 million frames
    "hidden": (512,),
    "precision": "float32",
    "batch_size": 32,
    "replay_size": 1_000_000,
    "target_interval": 40_000,  # "target network update frequency" 10,000, in updates; one update is 4 steps
    "tau": 1.0,
    "gamma": 0.99,
    "n_step": 1,
    "double": False,
    "train_interval": 4,  # "update frequency"
    "optimizer": "rmsprop",  # centred: "squared gradient momentum" and "gradient momentum" 0.95
    "learning_rate": 0.00025,
    "optimizer_eps": 0.1,  # "min squared gradient" 0.01 stands under the root; torch adds the root of it outside
    "epsilon_start": 1.0,
    "epsilon_end": 0.1,
    "epsilon_steps": 1_000_000,
    "learning_starts": 50_000,
    "noop_max": 30,
    "fire_reset": False,  # the published code presses nothing
    "life_loss": True,  # methods, "training details"
    "sticky_actions": 0.0,
    "full_action_set": False,
    "reward_clip": 1.0,  # methods, "training details"
    "huber_delta": 1.0,  # methods: "error clipping"
    "loss_reduction": "sum",  # the published code adds the gradients of a batch up
    "max_grad_norm": 0.0,
    "eval_interval": 250_000,  # published code: an epoch
    "eval_steps": 125_000,  # published code
    "eval_epsilon": 0.05,  # methods, "evaluation procedure"
    "checkpoint_interval": 1_000_000,
}

# Salimans & Kingma 2016, section 5.4, and the code base that it adapted; what is not here is as in NATURE.
PAPER: Values = {
    "optimizer": "adamax",  # section 5.4
    "beta1": 0.5,  # section 5.4
    "optimizer_eps": 1e-8,  # Adamax's own default (Kingma & Ba 2015)
    "batch_size": 64,  # section 5.4
    "units": "paper",  # g as equation 2 has it
}


def _paper_by_norm(norm: str) -> Values:
    """What the paper chose for the network with weight normalization, and for the one without."""
    if norm == "none":
        return {"norm": norm, "learning_rate": 0.0001, "init": "he"}  # section 5.4; the code base's He-uniform, 0.1
    return {"norm": norm, "learning_rate": 0.0003, "init": "data"}  # section 5.4; section 3
