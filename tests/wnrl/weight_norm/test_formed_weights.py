"""wnrl.weight_norm.formed_weights: weights formed at once are those of each layer, with the same derivatives."""

import copy
import pickle
import threading

import pytest
import torch
from torch import nn

import wnrl
from wnrl.networks.actor_critic import actor_critic
from wnrl.normalizers.folding import make_plain
from wnrl.weight_norm.formed_weights import FormedWeights, FormingSequential, form_together, form_weights

X = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def make(units="sqrt", dtype=torch.float64, ballast=0.0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3, bias=False), nn.Tanh(), nn.Linear(3, 2))
    options = {"units": units, "normalize_output": True, "ballast": ballast}
    network = wnrl.normalize(network.to(dtype), "weight", **{k: v for k, v in options.items() if v})
    with torch.no_grad():
        for layer in network[::2]:
            layer.g.mul_(1.5)
    return network


def plainly(network, x):
    """The outputs by the equation, in ordinary operations."""
    for layer in network:
        if isinstance(layer, nn.Linear):
            w = layer._scales["weight"] * layer.g[:, None] * layer.v / layer.v.norm(dim=1, keepdim=True)
            x = x @ w.T + (0 if layer.bias is None else layer.bias)
        else:
            x = layer(x)
    return x


def at_once(network, x):
    with FormedWeights(network):
        return network(x)


def ancestors(output):
    found = [output.grad_fn]
    for node in found:
        found += [before for before, _ in node.next_functions if before is not None and before not in found]
    return found


def nodes(output):
    return [type(node).__name__ for node in ancestors(output)]


@pytest.mark.parametrize("units", ["paper", "sqrt"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outputs_and_gradients_are_those_of_the_equation(units, dtype):
    network, x = make(units, dtype), X.to(dtype)
    expected = plainly(network, x)
    dy = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, list(network.parameters()), dy)
    for number, run in ((1, at_once), (3, lambda network, x: network(x))):
        output = run(network, x)
        torch.testing.assert_close(output, expected)
        assert nodes(output).count("_FormedWeightsBackward") == number
        torch.testing.assert_close(torch.autograd.grad(output, list(network.parameters()), dy), gradients)


def test_second_derivatives_and_many_gradients_at_once():
    network = make()
    parameters = [parameter for layer in network[::2] for parameter in (layer.v, layer.g)]

    def gradient(function):
        first = torch.autograd.grad(function(network, X).square().sum(), parameters, create_graph=True)
        return torch.autograd.grad(sum(each.sin().sum() for each in first), parameters)

    torch.testing.assert_close(gradient(at_once), gradient(plainly))
    many = torch.randn(7, 5, 2, dtype=torch.float64)
    found, expected = (
        torch.autograd.grad(function(network, X), parameters, many, is_grads_batched=True)
        for function in (at_once, plainly)
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e30])
def test_rows_of_any_size(size):
    network, small = make(dtype=torch.float32), make(dtype=torch.float64)
    with torch.no_grad():
        for each in (network, small):
            each[2].v[1] *= size
    output = at_once(network, X.float())
    gradients = torch.autograd.grad(output.sum(), [network[2].v, network[2].g])
    if size:
        expected = torch.autograd.grad(plainly(small, X).sum(), [small[2].v, small[2].g])
        torch.testing.assert_close(output, plainly(small, X).float())
        torch.testing.assert_close(gradients[0][[0, 2]], expected[0][[0, 2]].float())
        torch.testing.assert_close((gradients[0][1] * size), (expected[0][1] * size).float())
        torch.testing.assert_close(gradients[1], expected[1].float())
    else:
        assert not gradients[0][1].any()
        assert gradients[1][1] == 0
    assert output.isfinite().all()


def test_losses_of_different_layers_go_backward_one_by_one():
    network, twin = make(), make()
    with FormedWeights(network):
        first, second = network[0](X), network[4](X[:, :3])
    first.sum().backward()
    assert network[4].g.grad is None
    second.sum().backward()
    (twin[0](X).sum() + twin[4](X[:, :3]).sum()).backward()
    for own, other in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)


def test_losses_of_different_layers_may_have_optimizers_that_step_between_them():
    network, twin = (
        actor_critic((6,), num_actions=3, hidden=(8, 8), norm="weight", normalize_output=True) for _ in range(2)
    )
    obs = torch.randn(5, 6)
    for each in (network, twin):
        critic = torch.optim.SGD([*each.value_torso.parameters(), *each.value.parameters()], lr=0.1)
        outputs = each(obs)
        outputs.value.sum().backward()
        critic.step()
        if each is twin:  # as a forward pass of its own
            outputs = each(obs)
        outputs.policy.logits.square().sum().backward()
    for (name, own), other in zip(network.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, msg=name)


@pytest.mark.parametrize("place", [0, 4])
@pytest.mark.parametrize("which", ["v", "g"])
def test_a_parameter_that_changes_before_the_backward_pass_is_an_error(place, which):
    network = make()
    output = at_once(network, X)
    with torch.no_grad():
        getattr(network[place], which).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_frozen_parameters_get_no_gradient():
    network, twin = make(), make()
    for each in (network, twin):
        each[0].v.requires_grad_(False)
        each[2].g.requires_grad_(False)
    at_once(network, X).sum().backward()
    plainly(twin, X).sum().backward()
    for own, other in zip(network.parameters(), twin.parameters(), strict=True):
        assert (own.grad is None) == (other.grad is None)
        if own.grad is not None:
            torch.testing.assert_close(own.grad, other.grad)


def double(layer, *_):
    with torch.no_grad():
        layer.v[0] *= 2
        layer.g.data *= 2  # of which autograd sees nothing


@pytest.mark.parametrize("every", [False, True], ids=["of a layer", "of every module"])
def test_pre_hooks_may_write_to_v_and_g(every):
    network, twin = make(), make()
    double(twin[2])
    expected = plainly(twin, X)
    if every:
        handle = nn.modules.module.register_module_forward_pre_hook(lambda m, _: double(m) if m is network[2] else None)
    else:
        handle = network[2].register_forward_pre_hook(double)
    form_together(nn.ModuleList([network]))
    try:
        output = network(X)
    finally:
        handle.remove()
    torch.testing.assert_close(output, expected)
    dy = torch.randn_like(output)
    gradients = torch.autograd.grad(expected, list(twin.parameters()), dy)
    torch.testing.assert_close(torch.autograd.grad(output, list(network.parameters()), dy), gradients)


def test_nothing_is_left_for_a_later_pass():
    network = make()
    with FormedWeights(network):
        network[0](X)
    assert not any("_formed" in vars(layer) for layer in network)
    with pytest.raises(ZeroDivisionError), FormedWeights(network):
        raise ZeroDivisionError
    assert not any("_formed" in vars(layer) for layer in network)
    with FormedWeights(network):
        assert "_formed" in vars(network[0])
        assert all("_formed" not in vars(layer) for layer in pickle.loads(pickle.dumps(network)))
        assert all("_formed" not in vars(layer) for layer in copy.deepcopy(network))
        network[0](X)
        with torch.no_grad():
            network[0].g.mul_(2)
        torch.testing.assert_close(network[0](X), plainly(network[:1], X))  # the second call forms its own


def test_another_thread_forms_its_own():
    network, seen = make(), []
    with FormedWeights(network):
        own = vars(network[0])["_formed"][1].grad_fn
        other = threading.Thread(target=lambda: seen.append(network[0](X)))
        other.start()
        other.join()
        mine = network[2](torch.zeros(5, 6, dtype=torch.float64))
    everything = [node for output in (*seen, mine) for node in ancestors(output)]
    formers = [node for node in everything if type(node).__name__ == "_FormedWeightsBackward"]
    assert len(formers) == 2
    assert formers[0] is not own
    assert formers[1] is own


@pytest.mark.parametrize("why", ["log", "ballast", "large", "order", "no gradients", "vmap", "float16"])
def test_what_it_does_not_take_is_computed_as_before(why, monkeypatch):
    x = X
    network = make(units="log") if why == "log" else make(ballast=0.5) if why == "ballast" else make()
    if why == "large":
        monkeypatch.setattr("wnrl.weight_norm.formed_weights.LEAST_WEIGHTS", 1)
    if why == "order":
        for layer in network[::2]:
            layer.v.data = layer.v.data.t().contiguous().t()
    if why == "float16":
        network, x = network.to(torch.bfloat16), X.to(torch.bfloat16)
    layers = [network[0], network[2], network[4]]
    if why == "vmap":
        seen = []
        torch.vmap(lambda row: seen.extend(form_weights(layers)) or row)(X)
    elif why == "no gradients":
        with torch.no_grad():
            for weight, layer in zip(form_weights(layers), layers, strict=True):
                torch.testing.assert_close(weight, layer.weight.detach())
                assert not weight.requires_grad
        return
    else:
        seen = form_weights(layers)
    assert seen == [None] * 3
    expected = copy.deepcopy(network)
    torch.testing.assert_close(at_once(network, x), expected(x))


def test_a_sequential_of_several_layers_forms_them_together():
    network = nn.ModuleDict({"several": make(), "one": nn.Sequential(nn.ReLU(), wnrl.WeightNormLinear(4, 2))})
    form_together(network)
    assert (type(network["several"]), type(network["one"])) == (FormingSequential, nn.Sequential)
    output = network["several"](X)
    assert nodes(output).count("_FormedWeightsBackward") == 1
    torch.testing.assert_close(output, plainly(network["several"], X))
    torch.testing.assert_close(wnrl.fold(network)["several"](X), output)
    with torch.no_grad():
        torch.testing.assert_close(network["several"](X), output)
    assert type(pickle.loads(pickle.dumps(network))["several"]) is FormingSequential


def test_plain_layers_are_in_a_plain_sequential_again():
    network = nn.Sequential(make(), nn.Sequential(make(), nn.Tanh()))
    form_together(network)
    expected = network[0](X)
    for plain in (wnrl.fold(network), wnrl.remove(copy.deepcopy(network)), [wnrl.fold(network[0])]):
        assert type(plain[0]) is nn.Sequential
        torch.testing.assert_close(torch.jit.script(plain[0])(X), expected)
    assert type(network[0]) is type(network[1][0]) is FormingSequential
    make_plain(network, [network[0][0]])
    assert type(network[0]) is FormingSequential  # others are normalized still


def test_a_layer_that_is_not_called_by_its_own_forward_is_passed_over():
    class Own(nn.Linear):
        def forward(self, input):
            return nn.functional.linear(input, self.weight, self.bias) * 2

    network = wnrl.normalize(nn.Sequential(Own(4, 3), nn.Linear(3, 2)).double(), "weight", normalize_output=True)
    torch.testing.assert_close(at_once(network, X), copy.deepcopy(network)(X))
    assert not any("_formed" in vars(layer) for layer in network)
