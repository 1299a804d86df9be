"""wnrl.weight_norm.effective_weight: writing to a computed weight does what writing to a parameter does."""

import copy
import io
import pickle
import threading

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn import init
from torch.nn.utils import parameters_to_vector, vector_to_parameters

import wnrl
from wnrl.weight_norm.effective_weight import EffectiveWeight, writable

VALUES = torch.linspace(-1.0, 2.0, 30).view(5, 6)
ROW = torch.arange(1.0, 7.0)


class Layer(nn.Module):
    """A naive weight-normalized linear layer, w = g v/‖v‖."""

    def __init__(self, weight: Tensor = VALUES) -> None:
        super().__init__()
        self.g, self.v = nn.Parameter(torch.empty(len(weight))), nn.Parameter(torch.empty_like(weight))
        self.set_weight(weight)

    @torch.enable_grad()
    def effective_weight(self) -> Tensor:
        return (self.g / self.v.norm(dim=1)).unsqueeze(1) * self.v

    @property
    def weight(self) -> Tensor:
        return writable(self.effective_weight(), self.set_weight, read=self.effective_weight)

    def __setattr__(self, name, value):
        if name == "weight":
            self.set_weight(value)
        else:
            super().__setattr__(name, value)

    @torch.no_grad()
    def set_weight(self, weight: Tensor) -> None:
        norm = weight.norm(dim=1)
        self.v.copy_(torch.where(norm.unsqueeze(1) > 0, weight, 1.0))
        self.g.copy_(norm)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


class Plain(nn.Module):
    """The layer with a parameter, which is what the other is compared to."""

    def __init__(self, weight: Tensor = VALUES) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())


def set_item(index, value):
    return lambda w: w.__setitem__(index, value)


def augmented(w):
    w += 1
    w *= 2
    w -= 0.5
    w /= 3
    w **= 2


def rows_one_by_one(w):
    for i, row in enumerate(w):
        row.fill_(i)


def fused_sgd(w):
    options = {"weight_decay": 0.0, "momentum": 0.5, "lr": 0.1, "dampening": 0.0, "nesterov": False}
    options |= {"maximize": False, "is_first_step": False}
    torch._fused_sgd_([w[:2]], [torch.ones(2, 6)], [torch.ones(2, 6)], **options)


WRITES = {
    **{
        f"init.{f.__name__}": f
        for f in (
            *(init.uniform_, init.normal_, init.trunc_normal_, init.ones_, init.zeros_, init.eye_, init.orthogonal_),
            *(init.xavier_uniform_, init.xavier_normal_, init.kaiming_uniform_, init.kaiming_normal_),
        )
    },
    "init.constant_": lambda w: init.constant_(w, 2.0),
    "init.sparse_": lambda w: init.sparse_(w, 0.5),
    "init of a slice": lambda w: init.xavier_uniform_(w[:2]),
    "init of a column slice": lambda w: init.orthogonal_(w[:, 1:4]),
    "init of a slice by eye_": lambda w: init.eye_(w[:2, :2]),
    "init of data": lambda w: init.kaiming_normal_(w.data),
    "init of a chunk": lambda w: init.orthogonal_(w.chunk(2)[1]),
    "init by keyword": lambda w: init.normal_(tensor=w, std=2.0),
    "copy_": lambda w: w.copy_(VALUES.flip(0)),
    "Tensor.copy_": lambda w: Tensor.copy_(w, VALUES.flip(0)),
    "copy_ of itself": lambda w: w[0].copy_(w[1]),
    "fill_": lambda w: torch.fill_(w, 3.0),
    "clamp_": lambda w: torch.clamp_(w, -0.5, 0.5),
    "relu_ by keyword": lambda w: torch.relu_(input=w),
    "aten.mul_": lambda w: torch.ops.aten.mul_(w, 2),
    "aten.mul_.Scalar": lambda w: torch.ops.aten.mul_.Scalar(w, 2),
    "aten.add.out": lambda w: torch.ops.aten.add.out(VALUES, VALUES, out=w),
    "augmented assignments": augmented,
    "masked_fill_": lambda w: w.masked_fill_(w > 0, 0.25),
    "masked_scatter_": lambda w: w.masked_scatter_(w > 0, ROW.repeat(5)),
    "index_copy_": lambda w: w.index_copy_(0, torch.tensor([3, 1]), torch.stack([ROW, -ROW])),
    "index_fill_": lambda w: w.index_fill_(1, torch.tensor([2]), 5.0),
    "index_add_": lambda w: w.index_add_(0, torch.tensor([2]), ROW[None]),
    "index_put_": lambda w: w.index_put_((torch.tensor([0, 1]), torch.tensor([2, 3])), torch.tensor(7.0)),
    "scatter_": lambda w: w.scatter_(1, torch.zeros(5, 1, dtype=torch.long), 4.0),
    "put_": lambda w: w.put_(torch.tensor([1, 7]), torch.tensor([8.0, 9.0])),
    "lerp_": lambda w: w.lerp_(VALUES.flip(1), 0.25),
    "addcmul_": lambda w: w.addcmul_(VALUES, VALUES, value=2.0),
    "addmm_": lambda w: w.addmm_(torch.ones(5, 2), torch.ones(2, 6)),
    "renorm_": lambda w: w.renorm_(2, 0, 1.0),
    "fill_diagonal_": lambda w: w.fill_diagonal_(3.0),
    "bernoulli_": lambda w: w.bernoulli_(0.5),
    "real": lambda w: setattr(w, "real", VALUES.flip(0)),
    "setitem, row": set_item(0, ROW),
    "setitem, element": set_item((1, 2), 9.0),
    "setitem, slice": set_item(slice(1, None, 2), 9.0),
    "setitem, ellipsis": set_item((..., 0), 9.0),
    "setitem, everything": set_item(slice(None), VALUES.flip(0)),
    "setitem, mask": set_item(VALUES > 0, 0.0),
    "setitem, numbers": set_item([0, 3], 1.5),
    "setitem, of itself": lambda w: set_item(slice(0, 2), w[3:5])(w),
    "row, zero_": lambda w: w[1].zero_(),
    "select, fill_": lambda w: w.select(1, 2).fill_(4.0),
    "nested views": lambda w: w[1:].t()[2:].unsqueeze(0)[0, 1].view(-1).narrow(0, 1, 2).mul_(10),
    "rows": rows_one_by_one,
    "split": lambda w: [part.mul_(i) for i, part in enumerate(w.split(2))],
    "chunk": lambda w: w.chunk(2, dim=1)[1].zero_(),
    "unbind": lambda w: w.unbind(1)[0].zero_(),
    "tensor_split": lambda w: torch.tensor_split(w, 3)[2].zero_(),
    "diagonal": lambda w: w.diagonal().zero_(),
    "flattened": lambda w: w.view(-1)[::2].zero_(),
    "reshape, ravel, expand_as": lambda w: w.reshape(30).ravel().view(5, 6).expand_as(w)[0].zero_(),
    "as_strided": lambda w: w.as_strided((5,), (7,)).zero_(),
    "unfold": lambda w: w.unfold(1, 2, 2)[0, 1].zero_(),
    "transposed": lambda w: [w.T.mul_(2), w.mT[0].zero_()],
    "movedim": lambda w: w.movedim(0, 1)[0].zero_(),
    "same tensor": lambda w: w.contiguous().float().to("cpu").cpu().requires_grad_().mul_(2),
    "copy.copy": lambda w: copy.copy(w.data).zero_(),
    "torch.as_tensor": lambda w: torch.as_tensor(w).zero_(),
    "detach": lambda w: w.detach().zero_(),
    "a leaf of the same memory": lambda w: torch.optim.SGD([own_gradient(w)], 0.1).step(),
    "data": lambda w: w.data.mul_(2),
    "data, row": lambda w: w.data[0].data.zero_(),
    "data, setitem": lambda w: w.data.__setitem__(0, 5.0),
    "data, setter": lambda w: setattr(w, "data", VALUES.flip(0)),
    "data, apply_": lambda w: w.data.apply_(lambda x: x + 1),
    "data, map_": lambda w: w.data.map_(VALUES, lambda x, y: x * y),
    "vector_to_parameters": lambda w: vector_to_parameters(parameters_to_vector([w]) * 2, [w]),
    "out": lambda w: torch.add(VALUES, 1, out=w),
    "out of where": lambda w: torch.where(VALUES > 0, VALUES, -VALUES, out=w),
    "out of itself": lambda w: torch.mul(w, 2, out=w),
    "out of a factory": lambda w: torch.zeros(5, 6, out=w),
    "out of random numbers": lambda w: torch.randn(5, 6, out=w.data),
    "out of normalize": lambda w: F.normalize(VALUES, dim=1, out=w),
    "out of a view": lambda w: torch.mv(VALUES, ROW, out=w[:, 0]),
    "two outs": lambda w: torch.max(VALUES, 1, out=(w[:, 1], torch.zeros(5, dtype=torch.long))),
    "out, both": lambda w: torch.frexp(VALUES, out=(w, torch.zeros(5, 6, dtype=torch.int32))),
    "F.relu": lambda w: F.relu(w, inplace=True),
    "F.leaky_relu, positional": lambda w: F.leaky_relu(w, 0.1, True),
    "F.dropout": lambda w: F.dropout(w, 0.5, inplace=True),
    "F.hardtanh": lambda w: F.hardtanh(w[:3], -0.5, 0.5, inplace=True),
    "F.elu_": lambda w: F.elu_(w),
    "nn.ReLU": lambda w: nn.ReLU(inplace=True)(w),
    "foreach": lambda w: torch._foreach_mul_([w], 2.0),
    "foreach of views": lambda w: torch._foreach_add_(list(w.unbind()), [torch.ones(6)] * 5),
    "foreach copy": lambda w: torch._foreach_copy_([w[0], w[1]], [ROW, -ROW]),
    "fused optimizer": fused_sgd,
    "embedding_renorm_": lambda w: torch.embedding_renorm_(w, torch.tensor([4]), 1.0, 2.0),
    "F.embedding": lambda w: F.embedding(torch.tensor([4, 3]), w, max_norm=1.0),
}
"""Ways to write to a weight, by name; both a parameter and the weight of a normalized layer are given to them."""


def own_gradient(w):
    leaf = w.detach().requires_grad_()
    leaf.grad = torch.ones(5, 6)
    return leaf


def outcome(write, w):
    """The error's text, or None."""
    torch.manual_seed(1)
    try:
        write(w)
    except RuntimeError as error:
        return str(error)
    return None


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("name", WRITES)
def test_a_write_takes_effect_as_on_a_parameter(name, gradients):
    layer, plain = Layer(), Plain()
    w = layer.weight
    rows = list(w)
    with torch.set_grad_enabled(gradients):
        error, expected = outcome(WRITES[name], w), outcome(WRITES[name], plain.weight)
    assert error == expected or "This view is the output of a function that returns multiple views" in expected
    assert gradients or error is None
    torch.testing.assert_close(layer.weight.detach(), plain.weight.detach())
    assert torch.equal(w, plain.weight)
    with torch.no_grad():
        assert torch.equal(torch.stack(rows), plain.weight)
    assert error or not torch.equal(layer.weight, VALUES)


@pytest.mark.parametrize("name", WRITES)
def test_without_writing_back_the_layer_would_not_change(name):
    layer = Layer()
    with torch.no_grad():
        WRITES[name](writable(layer.effective_weight(), lambda weight: None))
    assert torch.equal(layer.weight, Layer().weight)


@pytest.mark.parametrize("name", ["copy_", "setitem, row", "row, zero_", "augmented assignments", "out", "chunk"])
def test_a_write_in_inference_mode_takes_effect(name):
    layer, plain = Layer(), Plain()
    with torch.inference_mode():
        WRITES[name](layer.weight)
        WRITES[name](plain.weight)
    torch.testing.assert_close(layer.weight.detach(), plain.weight.detach())


def test_functions_that_write_return_the_weight_itself():
    w = Layer().weight
    with torch.no_grad():
        assert init.ones_(w) is w
        assert w.mul_(2) is w
        assert torch.add(VALUES, 1, out=w) is w
        assert F.relu(w, inplace=True) is w
        assert w.t().zero_()._source is w._source
        largest = torch.max(VALUES, 1, out=(w[:, 1], torch.zeros(5, dtype=torch.long)))
        assert isinstance(largest.values, EffectiveWeight)


def test_a_write_to_the_weight_of_a_convolution_takes_effect():
    kernel = torch.zeros(4, 2, 3)
    written: list[Tensor] = []
    init.dirac_(writable(kernel, lambda weight: written.append(weight.clone())))
    assert torch.equal(written[-1], init.dirac_(torch.ones(4, 2, 3)))


def test_operators_of_the_attribute_write():
    layer = Layer()
    with torch.no_grad():
        layer.weight *= 2
        layer.weight[0] += 1
        layer.weight @= torch.eye(6)
    torch.testing.assert_close(layer.weight.detach(), torch.cat([2 * VALUES[:1] + 1, 2 * VALUES[1:]]))


def test_reading_is_differentiable_and_gives_ordinary_tensors():
    layer, x = Layer(), torch.ones(2, 6)
    w = layer.weight
    results = [F.linear(x, w), w * 2, w.clone(), w.sum(), torch.cat([w, w]), torch.relu(w), w.float().double(), w @ x.T]
    results += [*w.max(dim=1), w[[0, 1]], w[w > 0], w == w, torch.empty_like(w), w.to_sparse(), x.t() + w.mean()]
    assert all(type(result) is Tensor for result in results)
    results[0].relu_().sum().backward()
    other = Layer()
    other(x).relu().sum().backward()
    assert torch.equal(layer.g.grad, other.g.grad)
    assert torch.equal(layer.v.grad, other.v.grad)


@pytest.mark.parametrize(
    "use",
    [
        lambda w: torch.ones(5, 6).mul_(w),
        lambda w: torch.zeros(5, 6).copy_(w),
        lambda w: torch.zeros(6).clone().add_(w[0]),
        lambda w: torch.zeros(7, 6).index_copy_(0, torch.arange(5), w),
        lambda w: set_item(slice(0, 5), w)(y := torch.zeros(7, 6)) or y,
        lambda w: torch._foreach_mul_(ones := [torch.ones(5, 6)], [w]) and ones[0],
        lambda w: F.embedding(torch.arange(5), w),
        lambda w: torch.stack(list(w)),
        lambda w: w.view(-1)[3:].t(),
    ],
)
def test_gradients_pass_where_the_weight_is_read_by_a_function_that_writes(use):
    layer, plain = Layer(), Plain()
    for each in (layer, plain):
        use(each.weight).square().sum().backward()
    by_weight = torch.autograd.grad(layer.effective_weight(), (layer.g, layer.v), plain.weight.grad)
    torch.testing.assert_close((layer.g.grad, layer.v.grad), by_weight)


def test_views_share_the_weight_and_write_too():
    layer = Layer()
    w = layer.weight
    views = [w[0], w.t(), w.view(30), w.detach(), w.data, w.narrow(0, 1, 2), w.T, w[1:, ::2], w.real, w[None], *w]
    views += [*w.split(2), *w.chunk(2), *w.unbind(), *iter(w), *torch.tensor_split(w, 2), w.contiguous()]
    assert isinstance(w.split(2), (list, tuple))
    assert all(isinstance(view, EffectiveWeight) and view._source is w._source for view in views)
    assert type(w.shape) is torch.Size
    assert w.stride() == (6, 1)
    assert isinstance(w, Tensor)


def test_successive_writes_through_views_held_from_before_take_effect():
    layer, plain = Layer(), Plain()
    for each in (layer, plain):
        w = each.weight
        first, rest, data = w[0], w.detach()[1:], w.data
        with torch.no_grad():
            first.fill_(1.0)
            rest[0].fill_(2.0)
            data[:, 5] = 3.0
            w.mul_(2)
            first[1] = 7.0
    assert torch.equal(w, plain.weight) or torch.equal(layer.weight, plain.weight)
    torch.testing.assert_close(layer.weight.detach(), plain.weight.detach())


def test_a_write_keeps_what_changed_in_the_layer_since_the_weight_was_read():
    layer, plain = Layer(), Plain()
    with torch.no_grad():
        for each in (layer, plain):
            old, older = each.weight, each.weight
            old[0] = 1.0
            older[1] = 2.0
            old[2, 3] = 4.0
        torch.testing.assert_close(layer.weight.detach(), plain.weight.detach())
        for each in (layer, plain):
            old = each.weight
            each.weight.mul_(3.0)  # as an optimizer's step
            old[0].add_(1.0)
    torch.testing.assert_close(layer.weight.detach(), plain.weight.detach())


def test_without_read_a_late_write_undoes_other_changes():
    layer = Layer()
    old = writable(layer.effective_weight(), layer.set_weight)
    with torch.no_grad():
        layer.weight[0] = 1.0
        old[1] = 2.0
    assert not torch.equal(layer.weight[0], torch.ones(6))


def test_backward_after_a_write_raises_as_for_a_parameter():
    for layer in (Layer(), Plain()):
        x = torch.ones(2, 6, requires_grad=True)
        y = F.linear(x, layer.weight).sum()
        with torch.no_grad():
            layer.weight.zero_()
        if isinstance(layer, Layer):
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                y.backward()


@pytest.mark.parametrize(
    "exchange",
    [
        lambda w: w.set_(torch.zeros(5, 6)),
        lambda w: w.resize_(2, 2),
        lambda w: w.resize_as_(torch.zeros(2)),
        lambda w: w.detach().resize_(2, 2),
        lambda w: w.t_(),
        lambda w: w.squeeze_(),
        lambda w: w.transpose_(0, 1),
        lambda w: w.as_strided_((2,), (1,)),
        lambda w: w.share_memory_(),
        lambda w: w.detach_(),
        lambda w: torch.utils.swap_tensors(w, torch.zeros(5, 6)),
        lambda w: torch.utils.swap_tensors(nn.Parameter(torch.zeros(5, 6)), w),
        pytest.param(lambda w: torch.zeros(3, out=w), marks=pytest.mark.filterwarnings("ignore:An output with one")),
    ],
)
def test_exchanging_memory_or_shape_is_refused(exchange):
    layer = Layer()
    w = layer.weight
    with torch.no_grad(), pytest.raises(RuntimeError, match=r"computed from g and v: call layer.set_weight\(tensor\)"):
        exchange(w)
    assert torch.equal(layer.weight, Layer().weight)
    assert w.shape == (5, 6)


@pytest.mark.parametrize("value", [torch.zeros(6), torch.zeros(5, 6).double(), torch.zeros(5, 6, device="meta")])
def test_data_of_another_shape_dtype_or_device_is_refused(value):
    w = Layer().weight
    with pytest.raises(RuntimeError, match=r"the weight is torch.float32 \[5, 6\] on cpu, got .*: convert the layer"):
        w.data = value


@pytest.mark.parametrize(
    "ask",
    [
        lambda w: w.grad,
        lambda w: w[0].grad,
        lambda w: setattr(w, "grad", torch.zeros(5, 6)),
        lambda w: delattr(w, "grad"),
        lambda w: w.register_hook(print),
        lambda w: w.register_post_accumulate_grad_hook(print),
        lambda w: w.retain_grad(),
    ],
)
def test_gradients_and_hooks_are_those_of_the_parameters(ask):
    with pytest.raises(RuntimeError, match=r"in layer.g.grad and layer.v.grad, and hooks"):
        ask(Layer().weight)
    once = writable(Layer().effective_weight(), print, ("weight_orig", "weight_orig"))
    with pytest.raises(RuntimeError, match=r"computed from weight_orig: its gradients are in layer.weight_orig.grad, "):
        ask(once)


def test_requires_grad():
    layer = Layer()
    w = layer.weight
    assert w.requires_grad
    assert w.requires_grad_() is w
    for refused in (lambda: w.requires_grad_(False), lambda: setattr(w, "requires_grad", False)):
        with pytest.raises(RuntimeError, match=r"call layer.g.requires_grad_\(False\) and layer.v.requires_grad_"):
            refused()
    with torch.no_grad():
        assert layer.weight.requires_grad
    layer.requires_grad_(False)
    assert not layer.weight.requires_grad
    assert layer.weight.detach_().requires_grad_(False) is not None
    with pytest.raises(RuntimeError, match=r"call layer.g.requires_grad_\(True\)"):
        layer.weight.requires_grad_()
    layer.weight.mul_(2)  # as of a frozen parameter, with gradients enabled
    torch.testing.assert_close(layer.weight, 2 * VALUES)


def test_autograd_grad_reaches_the_weight_that_was_used():
    w, x = Layer().weight, torch.ones(2, 6)
    (dw,) = torch.autograd.grad(F.linear(x, w).sum(), w)
    assert torch.equal(dw, torch.full((5, 6), 2.0))
    assert type(dw) is Tensor


def test_optimizers_refuse_the_weight():
    with pytest.raises(ValueError, match="non-leaf"):
        torch.optim.SGD([Layer().weight], 0.1)


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")  # of NumPy 1's from_dlpack
def test_arrays_are_read_only():
    w = Layer().weight
    for array in (w.detach().numpy(), np.asarray(w.detach()), w.detach().__array__(), w.numpy(force=True)):
        assert np.array_equal(array, w.tolist())
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(RuntimeError, match="requires grad"):
        w.numpy()
    assert np.array(w.detach()).flags.writeable
    assert np.add(w.detach(), 1).shape == (5, 6)
    for copied in (torch.from_dlpack(w.detach()), torch.from_numpy(np.from_dlpack(w.detach()))):
        copied.zero_()
    assert w.any()
    assert float(w.detach()[0, 0]) == w[0, 0].item() == pytest.approx(-1.0)
    assert "EffectiveWeight(" in repr(w)
    assert f"{w[0, 0]:.1f}" == "-1.0"
    assert not hasattr(w, "__cuda_array_interface__")


def test_copies_and_files_hold_ordinary_tensors():
    layer = Layer()
    weight, file = layer.weight.detach(), io.BytesIO()
    torch.save({"weight": layer.weight}, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)["weight"].detach()
    for other in (copy.deepcopy(weight), loaded, pickle.loads(pickle.dumps(weight))):
        assert type(other) is Tensor
        assert torch.equal(other, layer.weight)
        assert torch.equal(other.mul_(0), torch.zeros(5, 6))
    assert layer.weight.any()
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(layer.weight)


@pytest.mark.parametrize("requires_grad", [True, False])
def test_parameters_made_from_the_weight_are_ordinary_and_independent(requires_grad):
    layer = Layer()
    for data in (layer.weight, layer.weight[:2], layer.weight.data, layer.weight.detach().clone()):
        parameter = nn.Parameter(data, requires_grad)
        assert type(parameter) is nn.Parameter
        assert parameter.is_leaf
        assert parameter.grad is None
        assert parameter.requires_grad is requires_grad
        assert torch.equal(parameter, data)
        (parameter.sum() if requires_grad else torch.ones((), requires_grad=True)).backward()
        nn.init.zeros_(parameter)
        copy.deepcopy(nn.ParameterList([parameter]))
    assert not isinstance(layer.weight, nn.Parameter)
    assert torch.equal(layer.weight, Layer().weight)


def test_functional_transforms_see_ordinary_tensors():
    layer, x = Layer(), torch.randn(4, 6)
    w, parameters = layer.weight, dict(layer.named_parameters())
    seen = []
    layer.register_forward_pre_hook(lambda layer, _: seen.append(type(layer.weight)))
    loss = lambda parameters: torch.func.functional_call(layer, parameters, (x,)).sum()  # noqa: E731
    gradients = torch.func.grad(loss)(parameters)
    assert seen == [Tensor]
    loss(parameters).backward()
    assert torch.equal(gradients["v"], layer.v.grad)
    assert torch.equal(torch.vmap(lambda x: F.linear(x, w))(x), F.linear(x, w))
    assert torch.equal(torch.vmap(lambda row: row.t() * 2)(w), w * 2)
    assert torch.func.grad(lambda x: F.linear(x, w)[0, 0])(x).shape == x.shape
    assert torch.equal(torch.func.jacrev(lambda w: w.sum(1))(w)[0, 0], torch.ones(6))


def test_tracing_and_export_see_ordinary_tensors():
    layer, x = Layer(), torch.randn(4, 6)
    assert torch.equal(torch.jit.trace(layer, (x,))(x), layer(x))
    for strict in (False, True):
        assert torch.equal(torch.export.export(layer, (x,), strict=strict).module()(x), layer(x))


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's own, for any tensor that is not a leaf
def test_compiled_functions_take_the_weight_and_write_to_it():
    layer, x = Layer(), torch.randn(4, 6)
    w = layer.weight
    compiled = torch.compile(F.linear, backend="eager", fullgraph=True)
    assert torch.equal(compiled(x, w), F.linear(x, w))
    torch.testing.assert_close(torch.compile(layer, backend="eager", fullgraph=True)(x), F.linear(x, w))

    def double(x: Tensor, w: Tensor) -> Tensor:
        with torch.no_grad():
            y = x + 1
            w.mul_(2)
            return y * w.sum()

    y = torch.compile(double, backend="eager")(x, w)
    torch.testing.assert_close(layer.weight.detach(), 2 * VALUES)
    torch.testing.assert_close(y, (x + 1) * 2 * VALUES.sum())


def test_compiled_functions_that_read_the_weight_set_it_by_set_weight():
    def halved(layer):
        layer.set_weight(layer.weight.detach() * 0.5)

    def zeroed(layer):
        init.zeros_(layer.weight)

    layer = wnrl.WeightNormLinear(6, 5)
    expected = layer.weight.detach().clone() * 0.5
    torch.compile(halved, backend="eager")(layer)
    torch.testing.assert_close(layer.weight.detach(), expected)
    torch.compile(zeroed, backend="eager")(layer)
    torch.testing.assert_close(layer.weight.detach(), expected)  # lost, as documented


def test_multi_head_attention_with_such_weights():
    torch.manual_seed(0)
    plain = nn.MultiheadAttention(6, 2)
    into, out = Layer(plain.in_proj_weight), Layer(plain.out_proj.weight)
    x = torch.randn(3, 1, 6)
    bias, out_bias = plain.in_proj_bias, plain.out_proj.bias
    y, _ = F.multi_head_attention_forward(
        *(x, x, x, 6, 2, into.weight, bias, None, None, False, 0.0, out.weight, out_bias)
    )
    torch.testing.assert_close(y, plain(x, x, x)[0])
    assert type(y) is Tensor
    y.sum().backward()
    assert into.v.grad.any()


def test_other_tensor_classes_are_handled_by_themselves():
    class Labelled(Tensor):
        pass

    layer, x = Layer(), torch.ones(2, 6).as_subclass(Labelled)
    assert type(F.linear(x, layer.weight)) is Labelled
    with torch.no_grad():
        layer.weight.copy_(torch.ones(5, 6).as_subclass(Labelled))
        assert torch.equal(layer.weight, torch.ones(5, 6))


def test_weights_of_several_layers_are_written_by_one_call():
    layers = [Layer(), Layer(-VALUES)]
    with torch.no_grad():
        torch._foreach_mul_([layer.weight for layer in layers], 2.0)
    torch.testing.assert_close([x.weight.detach() for x in layers], [2 * VALUES, -2 * VALUES])


def test_threads_write_to_their_own_layers():
    layers = [Layer() for _ in range(4)]

    def work(layer: Layer) -> None:
        with torch.no_grad():
            for _ in range(50):
                layer.weight[0].add_(1.0)

    threads = [threading.Thread(target=work, args=(layer,)) for layer in layers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for layer in layers:
        torch.testing.assert_close(layer.weight[0].detach(), VALUES[0] + 50)
