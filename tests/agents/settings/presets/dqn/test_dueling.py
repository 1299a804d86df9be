import pytest

from tests.agents.settings.presets.dqn_values import MNIH_2015, dqn_values

# Wang et al. 2016, section 4.2 and appendix; below that van Hasselt et al. 2016, tuned, and Mnih et al. 2015.
TABLE = {
    **MNIH_2015,
    "dueling": True,
    "dueling_gradient_scale": 0.7071067811865476,  # 1/√2
    "max_grad_norm": 10.0,
    "learning_rate": 6.25e-5,  # "slightly lower" than 2.5e-4; the number is that of the appendix
    "shared_bias": False,
    "double": True,
    "target_interval": 30_000,
    "epsilon_end": 0.01,
    "eval_epsilon": 0.001,
    "prioritized": False,
    "distribution": "none",
    "optimizer": "rmsprop",
    "optimizer_eps": 0.01,
    "loss_reduction": "sum",
    "huber_delta": 1.0,
}


@pytest.mark.parametrize("name", TABLE)
def test_dueling_to_the_letter(name):
    assert dqn_values("dueling")[name] == TABLE[name]
