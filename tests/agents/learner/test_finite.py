import math

import pytest
import torch
from torch import nn

from agents.learner.finite import Kept, NonFiniteError, check_figures, check_kept, holds_non_finite
from tests.agents.learner.test_learner import loss_of, make


def trained(**changes):
    learner = make("weight", **changes)
    learner.update(loss_of(learner), {})
    return learner


def read(learner, step=70):
    return learner.metrics(step, None, torch.Generator())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["0.weight_v", "0.weight_g", "2.bias"])
def test_a_reading_names_the_weight_that_is_not_finite(name, value):
    learner = trained()
    names = dict(learner.network.named_parameters())
    wrong = next(other for other in names if other.endswith(name.split("_")[-1]) and other.startswith(name[0]))
    read(learner)
    names[wrong].data.view(-1)[-1] = value
    with pytest.raises(NonFiniteError, match=rf"before step 70: the weight {wrong} not finite"):
        read(learner)
    with pytest.raises(NonFiniteError, match=wrong):
        learner.check_finite(70)


def test_a_reading_names_an_average_of_the_optimizer():
    learner = trained()
    parameter = learner.network[2].bias
    learner.optimizer.state[parameter]["exp_avg_sq"][1] = math.inf
    with pytest.raises(NonFiniteError, match=r"the optimizer's exp_avg_sq of 2\.bias not finite"):
        read(learner)


def test_a_loss_that_is_not_finite_is_named_before_the_weights_that_it_has_spoilt():
    learner = trained()
    learner.update(loss_of(learner) * math.nan, {})
    with pytest.raises(NonFiniteError, match=r"train/loss is nan, train/grad_norm is nan"):
        read(learner)


def test_a_gradient_that_is_not_finite_is_found_where_the_loss_is():
    learner = trained(max_grad_norm=1.0)
    learner.update((loss_of(learner) * 0).sqrt(), {})  # 0, with an infinite derivative
    with pytest.raises(NonFiniteError, match=r"before step 70: train/grad_norm is nan"):
        read(learner)


def test_a_large_gradient_whose_square_is_not_finite_is_found():
    """Adam would never change that weight again."""
    learner = trained()
    learner.update(loss_of(learner) * 1e25, {})
    with pytest.raises(NonFiniteError, match="exp_avg_sq"):
        read(learner)


def test_many_names_are_cut_short():
    learner = trained()
    for parameter in learner.network.parameters():
        parameter.data.fill_(math.nan)
    with pytest.raises(NonFiniteError, match=r" and \d+ more not finite"):
        learner.check_finite(0)


def test_what_has_not_learned_and_integers_are_fine():
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))  # num_batches_tracked is int64
    check_kept(0, Kept(network, torch.optim.Adam(network.parameters())))
    check_figures(0, {"rollout/ep_rew_mean": math.nan})


def test_a_reading_waits_no_oftener_for_the_device_than_one_that_looks_at_nothing(monkeypatch):
    """Each conversion to a number of the host is a wait."""
    waits = []
    for name in ("tolist", "item", "__bool__", "__float__"):
        own = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda tensor, own=own: waits.append(None) or own(tensor))
    read(trained())
    looking = len(waits)
    monkeypatch.setattr(Kept, "finite", torch.tensor(True))
    waits.clear()
    read(trained())
    assert looking == len(waits) > 0


@pytest.mark.parametrize("part", ["network", "optimizer"])
def test_a_state_that_is_not_finite_is_found(part):
    learner = trained()
    assert holds_non_finite(learner.get_state()) == ""
    if part == "network":
        learner.network[2].bias.data[0] = math.nan
    else:
        learner.optimizer.state[learner.network[2].bias]["exp_avg"][0] = math.inf
    found = holds_non_finite(learner.get_state())
    assert found.startswith(part)
    assert found.endswith("bias" if part == "network" else "exp_avg")


def test_a_learning_rate_that_is_too_large_is_found():
    learner = make("none", learning_rate=lambda step: 1e30)
    learner.anneal(0)
    for _ in range(3):
        learner.update(loss_of(learner), {})
    with pytest.raises(NonFiniteError):
        read(learner)
