import json
import math
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import wnrl
from wnrl.checkpoints.state_trees import flatten, unflatten
from wnrl.checkpoints.streams import raw_bytes


def same(one: Any, other: Any) -> bool:
    """Equal in type and value all the way down, NaN being itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(raw(one), raw(other))
    if isinstance(one, np.ndarray | np.generic):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, dict):
        return list(one) == list(other) and all(
            type(a) is type(b) and same(one[a], other[b]) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


def raw(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def back(state: Any) -> Any:
    """Through JSON text and out again."""
    tree, tensors = flatten(state)
    return unflatten(json.loads(json.dumps(tree, allow_nan=False)), tensors)


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**200), 2**200),
    st.floats(),
    st.text(),
    st.sampled_from([np.uint64, np.float16, np.bool_, np.int8]).map(lambda dtype: np.arange(3).astype(dtype)),
    st.sampled_from([torch.uint8, torch.bool, torch.bfloat16, torch.float64]).map(lambda d: torch.arange(2).to(d)),
    st.builds(np.float32, st.floats(width=32)),
)
KEYS = st.one_of(st.text(), st.integers(), st.sampled_from(["$tensor", "$dict", "a/b", "0", "__metadata__"]))
TREES = st.recursive(
    LEAVES,
    lambda child: st.one_of(
        st.lists(child, max_size=3), st.lists(child, max_size=3).map(tuple), st.dictionaries(KEYS, child, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(KEYS, TREES, max_size=4))
def test_any_tree_comes_back(state: dict) -> None:
    assert same(back(state), state)


def test_names_say_where_a_tensor_stood_and_are_never_shared() -> None:
    tree, tensors = flatten({"net": {"w": torch.zeros(1)}, "net/w": torch.ones(1), "é": [torch.ones(())]})
    assert list(tensors) == ["/net/w", "/net/w'", "/\\xe9/0"]
    assert unflatten(tree, tensors)["net/w"].item() == 1


def test_shared_strided_and_tracked_tensors_become_plain() -> None:
    base = torch.arange(6.0).reshape(2, 3)
    state = {"a": base, "b": base.t(), "c": base[1], "p": torch.nn.Parameter(base), "n": base.numpy()[:, ::2]}
    _, tensors = flatten(state)
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors.values()}) == len(tensors)
    result = back(state)
    assert all(np.array_equal(np.asarray(result[key]), np.asarray(state[key].detach())) for key in "abcp")
    assert type(result["p"]) is torch.Tensor
    assert np.array_equal(result["n"], [[0, 2], [3, 5]])


def test_a_tensor_that_is_negated_when_it_is_read_comes_back() -> None:
    negated = torch._neg_view(torch.tensor([2.0, -4.0]))  # as the imaginary part of a conjugate is
    _, tensors = flatten({"a": negated})
    assert bytes(raw_bytes(tensors["/a"])) == bytes(raw_bytes(torch.tensor([-2.0, 4.0])))


def test_a_large_tensor_is_not_copied() -> None:
    tensor = torch.zeros(10)
    _, tensors = flatten({"replay": tensor[:7]})
    assert tensors["/replay"].data_ptr() == tensor.data_ptr()


def test_mappings_come_back_as_dicts() -> None:
    assert same(back(OrderedDict(b=1, a=2)), {"b": 1, "a": 2})


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {"b": {1, 2}}}, "cannot store /a/b, a set"),
        ({"a": [0, object()]}, "cannot store /a/1, a object"),
        ({"a": {1.5: 0}}, r"cannot store /a, it has the key 1\.5"),
        ({True: 0}, "cannot store the state, it has the key True"),
        ({"a": np.array(["x"])}, "cannot store /a, an array of <U1"),
        ({"a": torch.zeros(1, dtype=torch.complex64)}, "cannot store /a, a torch.complex64"),
        ({"a": torch.eye(2).to_sparse()}, "sparse"),
        ({"a": torch.zeros(1, device="meta")}, r"cannot store /a, .*, meta\)"),
        ({"a": np.ma.masked_less(np.arange(3), 1)}, "cannot store /a, a MaskedArray"),
    ],
)
def test_what_cannot_be_stored_is_named(state: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        flatten(state)


@pytest.mark.parametrize("tree", [None, 3, {"$tensor": "gone"}, {"$dict": 1}, {"a": {"$tuple": None}}, {"$float": {}}])
def test_a_foreign_tree_is_refused(tree: Any) -> None:
    with pytest.raises(ValueError, match="not a tree"):
        unflatten(tree, {})


def test_state_dicts_keep_what_they_say_about_their_layers() -> None:
    layer = wnrl.normalize(torch.nn.Sequential(torch.nn.Linear(3, 2)), "weight", units="sqrt")
    state = back({"network": layer.state_dict()})["network"]
    assert same(dict(state), dict(layer.state_dict()))
    assert state._metadata == layer.state_dict()._metadata
    assert state._metadata["0"]["units"] == "sqrt"
    plain = back({"network": torch.nn.Linear(3, 2).state_dict()})["network"]
    assert type(plain) is dict
