"""Low-rank adapters (LoRA) of weight-normalized layers: by a subclass of `nn.Linear`, and by the `peft` package."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import wnrl
from wnrl.weight_norm.weight_norm_layer import WeightNormLayer


class LowRankLinear(nn.Linear):
    """As loralib's layer: a frozen weight and a trained product, which `merge` adds to it."""

    def __init__(self, inputs, outputs, rank=2):
        super().__init__(inputs, outputs)
        self.down = nn.Parameter(torch.randn(rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        self.weight.requires_grad = False
        self.merged = False

    def merge(self):
        self.weight.data += self.up @ self.down
        self.merged = True

    def forward(self, x):
        y = F.linear(x, self.weight, self.bias)
        return y if self.merged else y + x @ self.down.t() @ self.up.t()


def network(layer=nn.Linear):
    return nn.Sequential(layer(6, 8), nn.ReLU(), layer(8, 3))


def learn(module, x, steps=3):
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        (module(x) - 1).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("units", ["paper", "sqrt", "log"])
def test_a_subclass_with_an_adapter(units):
    plain, x = network(LowRankLinear), torch.randn(5, 6)
    model = wnrl.normalize(copy.deepcopy(plain), "weight", units=units)
    assert_close(model(x), plain(x))
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    assert {*frozen} == {"0.g", "0.v", "2.g", "2.v"}
    learn(model, x), learn(plain, x)
    assert_close(model(x), plain(x), rtol=1e-4, atol=1e-5)
    assert_close({name: model.get_parameter(name) for name in frozen}, frozen, rtol=0, atol=0, check_stride=False)
    expected, before = model(x), model[0].weight.detach().clone()
    for layer in (*model.children(), *plain.children()):
        if isinstance(layer, LowRankLinear):
            layer.merge()
    assert not torch.allclose(model[0].weight, before)
    assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
    assert_close(model[0].weight.detach(), plain[0].weight.detach(), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
    assert_close(wnrl.fold(model)(x), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def peft():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("peft")


def adapted(peft, module, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=["0", "2"], **options)
        return peft.get_peft_model(module, config)


@pytest.mark.parametrize("dora", [False, True])
def test_lora_of_a_normalized_network(peft, dora):
    plain, x = network(), torch.randn(5, 6)
    base = wnrl.normalize(copy.deepcopy(plain), "weight")
    torch.manual_seed(1)
    model = adapted(peft, base, use_dora=dora)
    torch.manual_seed(1)
    reference = adapted(peft, copy.deepcopy(plain), use_dora=dora)
    assert_close(model(x), plain(x))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {name for name, p in reference.named_parameters() if p.requires_grad}
    assert all("lora_" in name for name in trained)
    learn(model, x), learn(reference, x)
    expected = model(x)
    assert not torch.allclose(expected, plain(x), rtol=1e-2)
    assert_close(expected, reference(x), rtol=1e-4, atol=1e-5)
    model.merge_adapter()
    assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
    model.unmerge_adapter()
    assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
    merged = model.merge_and_unload()
    assert isinstance(merged[0], WeightNormLayer)
    assert merged[0] is base[0]
    assert_close(merged(x), expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        assert_close(merged(x), expected, rtol=1e-4, atol=1e-5)
    assert_close(wnrl.fold(merged)(x), expected, rtol=1e-4, atol=1e-5)


def test_adapters_are_saved_and_loaded(peft, tmp_path):
    x = torch.randn(5, 6)
    base = wnrl.normalize(network(), "weight")
    model = adapted(peft, copy.deepcopy(base))
    learn(model, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(tmp_path)
        again = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path)
    assert_close(again(x), model(x))


@pytest.mark.parametrize("init", ["pissa", "olora", "orthogonal"])
def test_initializations_that_change_the_base_weight(peft, init):
    """They write the rest of the weight to the base layer, so that the function stays."""
    plain, x = network(), torch.randn(5, 6)
    model = adapted(peft, wnrl.normalize(copy.deepcopy(plain), "weight"), init_lora_weights=init)
    assert_close(model(x), plain(x), rtol=1e-4, atol=1e-5)


def test_whole_layers_are_trained_besides_adapters(peft):
    """`modules_to_save` trains a copy of the layer: g and v of it."""
    x = torch.randn(5, 6)
    base = wnrl.normalize(network(), "weight")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = peft.LoraConfig(r=2, target_modules=["0"], modules_to_save=["2"])
        model = peft.get_peft_model(base, config)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert sum(name.endswith((".g", ".v")) for name in trained) == 2
    before = copy.deepcopy(dict(model.named_parameters()))
    learn(model, x)
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters() if name in trained)
