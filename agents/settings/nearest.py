"""The setting that a wrong name most likely means."""

from __future__ import annotations

import difflib
from collections.abc import Collection

ELSEWHERE = {
    "lr": "learning_rate",
    "batch_size": "minibatches",
    "buffer_size": "replay_size",
    "total_timesteps": "steps",
    "timesteps": "steps",
    "n_envs": "num_envs",
    "n_steps": "rollout_length",
    "n_epochs": "epochs",
    "nminibatches": "minibatches",
    "n_minibatches": "minibatches",
    "train_freq": "train_interval",
    "target_update_interval": "target_interval",
    "exploration_final_eps": "epsilon_end",
    "exploration_initial_eps": "epsilon_start",
    "eval_freq": "eval_interval",
    "n_eval_episodes": "eval_episodes",
    "ent_coef": "entropy_coef",
    "vf_coef": "value_coef",
    "clip_eps": "clip_range",
    "net_arch": "hidden",
    "env_id": "env",
    "cuda": "device",
    "normalizer": "norm",
}
"""Names of other libraries."""


def nearest_setting(name: str, names: Collection[str]) -> str | None:
    """The one of `names` that `name` most likely means: what other libraries call so, or one that is spelt alike."""
    if ELSEWHERE.get(name) in names:
        return ELSEWHERE[name]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return near[0] if near else next((other for other in sorted(names) if name in other.split("_")), None)
