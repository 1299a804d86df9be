"""Double DQN, tuned (van Hasselt et al. 2016).

The untuned one is `--preset nature --double --target-interval 10000`: its target is copied every 10,000 steps.
"""

from __future__ import annotations

from agents.settings.presets.base import Values
from agents.settings.presets.dqn.nature import NATURE

# van Hasselt et al. 2016, appendix, "tuned Double DQN", and DeepMind's code (dqn_zoo, double_q/run_atari.py); what is
# not here is as in NATURE.
DOUBLE: Values = {
    **NATURE,
    "double": True,
    "target_interval": 30_000,  # 10,000 → 30,000 steps; dqn_zoo: 120,000 frames
    "epsilon_end": 0.01,  # 0.1 → 0.01
    "eval_epsilon": 0.001,  # the appendix; dqn_zoo has 0.01
    "shared_bias": True,  # "a single shared bias for all action values"
}
