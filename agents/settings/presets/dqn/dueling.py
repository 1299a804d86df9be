"""Dueling double DQN (Wang et al. 2016)."""

from __future__ import annotations

import math

from agents.settings.presets.base import Values
from agents.settings.presets.dqn.double import DOUBLE

# Wang et al. 2016, section 4.2, which takes "the optimizers and hyper-parameters of van Hasselt et al. (2015)" but for
# the learning rate. The two streams have 512 hidden units each, as here.
DUELING: Values = {
    **{name: value for name, value in DOUBLE.items() if name != "shared_bias"},  # of the layer that the streams replace
    "dueling": True,
    "dueling_gradient_scale": math.sqrt(0.5),  # "we rescale the combined gradient ... by 1/√2"
    "max_grad_norm": 10.0,  # "we clip the gradients to have their norm less than or equal to 10"
    # "Slightly lower" than 0.00025 without a number: that of its combination with prioritized replay (appendix).
    "learning_rate": 0.0000625,
}
