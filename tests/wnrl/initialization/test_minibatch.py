"""wnrl.initialization.minibatch: layers set one after the other within one forward pass."""

import warnings

import pytest
import torch
from torch import nn

from wnrl.initialization.minibatch import initialize_layers


class Twice(nn.Module):
    """Calls its second layer first, and that twice; its third never."""

    def __init__(self):
        super().__init__()
        self.later, self.first, self.never = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.later(self.first(self.first(x)))


def test_layers_are_set_in_the_order_of_their_first_calls_and_see_what_was_set_before():
    seen = []

    def rule(layer, outputs):
        layer.layer.weight.copy_(2 * torch.eye(3))
        layer.layer.bias.zero_()
        seen.append((layer.name, outputs()[0, 0].item(), layer.layer.training))
        return f"said of {layer.name}" if layer.name == "later" else ""

    network, x = Twice(), torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        initialize_layers(network, rule, "an init", (x,), {})
    assert seen == [("first", 2.0, False), ("later", 8.0, False)]
    texts = [str(warning.message) for warning in told]
    assert texts == ["said of later", "not initialized, since the forward pass did not reach them: never"]
    assert network.training
    assert not network.first._forward_pre_hooks


def test_after_an_error_everything_has_its_old_value():
    def rule(layer, outputs):
        layer.layer.weight.zero_()
        if layer.name == "later":
            raise RuntimeError("broken")
        return ""

    network = Twice()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(RuntimeError, match="broken"):
        initialize_layers(network, rule, "an init", (torch.randn(4, 3),), {})
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not network.later._forward_pre_hooks


@pytest.mark.parametrize(
    ("x", "said"), [(torch.ones(1, 3), "an init needs statistics"), (torch.ones(5, 3), "all examples .* are the same")]
)
def test_examples_must_differ(x, said):
    with pytest.raises(ValueError, match=said):
        initialize_layers(Twice(), lambda layer, outputs: "", "an init", (x,), {})


class WithGradients(Twice):
    @torch.enable_grad()
    def forward(self, x):
        return super().forward(x)


def test_a_forward_pass_may_enable_gradients():
    def rule(layer, outputs):
        layer.layer.weight.zero_()
        return "" if not outputs().requires_grad else "gradients"

    network = WithGradients()
    with pytest.warns(UserWarning, match="did not reach them: never") as told:
        initialize_layers(network, rule, "an init", (torch.randn(4, 3),), {})
    assert len(told) == 1
    assert not network.later.weight.any()


def test_a_layer_of_any_kind_without_a_shape_is_refused():
    network = nn.Sequential(nn.Linear(3, 3), nn.LazyBatchNorm1d())
    with pytest.raises(ValueError, match=r"1\.weight has no shape yet: call the network once first"):
        initialize_layers(network, lambda layer, outputs: "", "an init", (torch.randn(4, 3),), {})
