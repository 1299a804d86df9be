"""Defaults of runs of discrete SAC by name, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping

from agents.settings.presets.base import REPLAY_VECTOR, Values, check_preset


def sac_preset(name: str, *, images: bool, norm: str, flags: Mapping[str, str] = {}) -> Values:
    """Defaults of a run of discrete SAC.

    Args:
        name: `fast`.
        images: whether the task shows images, as Atari games do.
        norm: the normalizer.
        flags: the flags that are given, as text by name; a fixed temperature has no use for the settings of the
            automatic one.

    Raises:
        ValueError: an unknown name.
    """
    check_preset(name, ("fast",))
    automatic = AUTOMATIC_ATARI if images else AUTOMATIC_VECTOR
    if flags.get("temperature", "auto") != "auto":
        automatic = {}
    return {"preset": name, **(SAC_ATARI if images else SAC_VECTOR), **automatic}


SAC_ATARI: Values = {
    "learning_rate": 3e-4,  # Christodoulou 2019, appendix B
    "batch_size": 64,  # the same
    "train_interval": 4,  # the same: "steps per learning update"
    "learning_starts": 20_000,  # the same: "initial random steps"
    "target_interval": 8_000,  # the same: "fixed network update frequency"
    "tau": 1.0,  # the same
    "replay_size": 1_000_000,  # the same, and CleanRL's sac_atari.py: buffer_size
    "eval_sample": True,
}

# CleanRL's sac_atari.py: target_entropy_scale. Christodoulou 2019 has 0.98, at which the temperature of many a policy
# grows without end (github.com/vwxyzjn/cleanrl/pull/270).
AUTOMATIC_ATARI: Values = {"target_entropy": 0.89}

SAC_VECTOR: Values = {
    **REPLAY_VECTOR,
    "tau": 0.1,  # 0.02 and 0.05 solve CartPole later
    "log_interval": 2_000,
}

AUTOMATIC_VECTOR: Values = {"target_entropy": 0.3}
