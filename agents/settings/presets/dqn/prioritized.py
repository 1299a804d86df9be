"""Double DQN with proportional prioritized replay (Schaul et al. 2016)."""

from __future__ import annotations

from agents.settings.presets.base import Values
from agents.settings.presets.dqn.double import DOUBLE

# Schaul et al. 2016, table 3 and section 4, and DeepMind's code (dqn_zoo, prioritized/run_atari.py); what is not here
# is as in DOUBLE, the paper's baseline.
PRIORITIZED: Values = {
    **DOUBLE,
    "prioritized": True,
    "priority_exponent": 0.6,  # α of the proportional variant
    "priority_beta": 0.4,  # β₀, annealed to 1 by the end
    "learning_rate": 0.0000625,  # "we reduce the step-size η by a factor 4"
    "optimizer_eps": 0.000625,  # dqn_zoo: NATURE's times (1/4)², the same greatest effective step size
}
