from typing import get_args

import pytest
import torch
from torch import nn

from agents.learner.optimizers import OptimizerName, load_optimizer, make_optimizer


def moves(name, gradients, **numbers):
    """How far one parameter, beginning at 0, has gone after each of the gradients."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = make_optimizer(name, [parameter], **{"learning_rate": 0.1, "beta1": 0.5, "eps": 1e-8, **numbers})
    places = []
    for gradient in gradients:
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
        places.append(parameter.item())
    return places


def test_adam_by_hand():
    # mean: 1, (0.5·0.5·2 + 0.5·4)/0.75; square: 4, (0.999·0.001·4 + 0.001·16)/(1 − 0.999²)
    first = -0.1
    second = first - 0.1 * ((0.5 * 1 + 0.5 * 4) / 0.75) / ((0.999 * 0.004 + 0.016) / (1 - 0.999**2)) ** 0.5
    assert moves("adam", [2.0, 4.0]) == pytest.approx([first, second], rel=1e-5)


def test_adamax_by_hand():
    # the step is lr / (1 − β₁^t) · mean / greatest gradient so far
    second = -0.1 - 0.1 / 0.75 * (0.5 * 2 + 0.5 * -1) / (4 * 0.999)
    assert moves("adamax", [4.0, -1.0]) == pytest.approx([-0.1, second], rel=1e-5)


def test_rmsprop_is_centred_without_momentum():
    mean, square = 0.05 * 3, 0.05 * 9
    first = -0.1 * 3 / ((square - mean**2) ** 0.5 + 0.1)
    assert moves("rmsprop", [3.0], eps=0.1) == pytest.approx([first], rel=1e-5)
    assert moves("rmsprop", [3.0], eps=0.1, beta1=0.9) == moves("rmsprop", [3.0], eps=0.1, beta1=0.0)


def test_radam_follows_the_mean_gradient_while_it_knows_few():
    # without the rectified denominator in the first five steps (Liu et al. 2020, algorithm 2)
    second = -0.2 - 0.1 * (0.5 * 1 + 0.5 * 4) / 0.75
    assert moves("radam", [2.0, 4.0]) == pytest.approx([-0.2, second], rel=1e-5)


def test_rmsprop_of_a2c_is_not_centred_and_has_a_longer_memory():
    assert moves("rmsprop-a2c", [3.0], eps=0.1) == pytest.approx([-0.3 / ((0.01 * 9) ** 0.5 + 0.1)], rel=1e-5)


@pytest.mark.parametrize("name", ["adam", "adamax", "radam"])
def test_beta1_and_eps_reach_the_optimizer(name):
    assert moves(name, [1.0, -1.0], beta1=0.9) != moves(name, [1.0, -1.0])
    if name != "radam":  # its first steps have no denominator
        assert moves(name, [1.0], eps=1.0) == pytest.approx([-0.05], rel=1e-5)


def test_sgd_follows_the_gradient_alone():
    assert moves("sgd", [2.0, -5.0], beta1=0.9, eps=1.0) == pytest.approx([-0.2, 0.3], rel=1e-6)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'adagrad': choose from adam, adamax, radam, rmsprop, rmsprop-a2c, sgd"):
        make_optimizer("adagrad", [nn.Parameter(torch.zeros(1))], learning_rate=0.1, beta1=0.9, eps=1e-8)


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_moments_are_loaded_and_numbers_stay_those_of_the_device(name):
    """A state from another device may have a step size that is a tensor, and step counts elsewhere."""
    made, loaded = (
        make_optimizer(name, [nn.Parameter(torch.zeros(1))], learning_rate=rate, beta1=0.9, eps=1e-8)
        for rate in (0.1, 0.2)
    )
    (parameter,) = made.param_groups[0]["params"]
    parameter.grad = torch.ones(1)
    made.step()
    state = made.state_dict()
    state["param_groups"][0] |= {"lr": torch.tensor(9.0), "capturable": True}
    load_optimizer(loaded, state)
    (group,) = loaded.param_groups
    assert (group["lr"], group.get("capturable", False)) == (0.2, False)
    moments = next(iter(loaded.state.values()), {})
    for key, value in next(iter(made.state.values()), {}).items():
        assert torch.equal(torch.as_tensor(moments[key]), torch.as_tensor(value))
    (moved,) = group["params"]
    moved.grad = torch.ones(1)
    loaded.step()
    assert moved.item() != 0
