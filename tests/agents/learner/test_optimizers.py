from typing import get_args

import pytest
import torch
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
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
    # Mnih et al. 2015's code: g ← 0.95 g + 0.05 d, n ← 0.95 n + 0.05 d², Δ = d / √(n − g² + 0.01)
    places, place, mean, square = [], 0.0, 0.0, 0.0
    for gradient in (3.0, -1.0, 2.0):
        mean, square = 0.95 * mean + 0.05 * gradient, 0.95 * square + 0.05 * gradient**2
        place -= 0.1 * gradient / (square - mean**2 + 0.01) ** 0.5
        places.append(place)
    assert moves("rmsprop", [3.0, -1.0, 2.0], eps=0.01) == pytest.approx(places, rel=1e-5)
    assert moves("rmsprop", [3.0], eps=0.1, beta1=0.9) == moves("rmsprop", [3.0], eps=0.1, beta1=0.0)


def test_radam_follows_the_mean_gradient_while_it_knows_few():
    # without the rectified denominator in the first five steps (Liu et al. 2020, algorithm 2)
    second = -0.2 - 0.1 * (0.5 * 1 + 0.5 * 4) / 0.75
    assert moves("radam", [2.0, 4.0]) == pytest.approx([-0.2, second], rel=1e-5)


@pytest.mark.parametrize("gradient", [100.0, 1.0, 1e-3])
def test_centred_rmsprop_stays_finite_on_a_gradient_that_stays(gradient):
    """Its variance falls to 0, and the difference of two averages would round to less than −ε."""
    places = moves("rmsprop", [gradient] * 600, eps=1e-8 * gradient**2, learning_rate=1e-3)
    exact, place, variance, mean = [], 0.0, 0.0, 0.0
    for _ in range(600):
        variance, mean = 0.95 * (variance + 0.05 * (gradient - mean) ** 2), mean + 0.05 * (gradient - mean)
        place -= 1e-3 * gradient / (variance + 1e-8 * gradient**2) ** 0.5
        exact.append(place)
    assert places == pytest.approx(exact, rel=1e-3)


def test_rmsprop_of_a2c_is_that_of_tensorflow():
    gradients = [[3.0, -0.2, 1e-3], [0.5, 0.1, -1e-4], [-2.0, 0.3, 1e-2]]
    ours, theirs = (nn.Parameter(torch.zeros(3)) for _ in range(2))
    optimizers = (
        make_optimizer("rmsprop-a2c", [ours], learning_rate=7e-4, beta1=0.9, eps=1e-5),
        RMSpropTFLike([theirs], lr=7e-4, alpha=0.99, eps=1e-5),
    )
    for gradient in gradients:
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = torch.tensor(gradient)
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    first = [-7e-4 * g / (0.99 + 0.01 * g**2 + 1e-5) ** 0.5 for g in (3.0, 1e-3)]
    assert [*moves("rmsprop-a2c", [3.0], eps=1e-5, learning_rate=7e-4),
            *moves("rmsprop-a2c", [1e-3], eps=1e-5, learning_rate=7e-4)] == pytest.approx(first, rel=1e-5)  # fmt: skip


@pytest.mark.parametrize("name", get_args(OptimizerName))
def test_a_compiled_step_is_the_same(name):
    """And a step size that is a tensor is read anew at each step, as a captured one needs it."""
    numbers = {"learning_rate": 0.1, "beta1": 0.5, "eps": 1e-3}
    sides = [[nn.Parameter(torch.tensor(start)) for start in ([1.0, 2.0], [[3.0]])] for _ in range(2)]
    optimizers = [make_optimizer(name, parameters, **numbers) for parameters in sides]
    steps = [optimizers[0].step, torch.compile(optimizers[1].step, backend="eager")]
    for scale in (1.0, -0.5, 2.0):
        for parameters, step in zip(sides, steps, strict=True):
            for parameter in parameters:
                parameter.grad = scale * parameter.detach().cos()
            step()
    torch.testing.assert_close(*sides)
    if name.startswith("rmsprop"):
        tensor = make_optimizer(name, sides[1], **numbers)
        tensor.param_groups[0]["lr"] = torch.tensor(0.0)
        before = [parameter.detach().clone() for parameter in sides[1]]
        tensor.step()
        torch.testing.assert_close([parameter.detach() for parameter in sides[1]], before)


@pytest.mark.parametrize("name", ["rmsprop", "rmsprop-a2c"])
def test_moments_of_torchs_rmsprop_are_refused(name):
    parameters = [nn.Parameter(torch.zeros(1))]
    state = torch.optim.RMSprop(parameters, centered=name == "rmsprop").state_dict()
    with pytest.raises(ValueError, match=r"epsilon outside of the root, .* under it: evaluate the run's model"):
        load_optimizer(make_optimizer(name, parameters, learning_rate=0.1, beta1=0.9, eps=1e-8), state)


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
