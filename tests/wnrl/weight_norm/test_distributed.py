"""Normalized networks under DistributedDataParallel and FSDP2 (`fully_shard`), on the CPU."""

import copy
import os

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

import wnrl
from tests.wnrl.weight_norm.normalized_networks import ROWS, gradients, loss, make, state
from wnrl.normalizers.conversions import NORMALIZERS

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="needs gloo")
FULL = StateDictOptions(full_state_dict=True)
OVER_THE_BATCH = ("batch", "mean-batch", "batch+projected")  # whose statistics are of each process's share


@pytest.fixture(scope="module")
def alone():
    """A process group of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def _process(rank, path, function, arguments):
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(path, 2), rank=rank, world_size=2)
    try:
        function(rank, *arguments)
    finally:
        dist.destroy_process_group()


def in_two_processes(path, function, *arguments):
    multiprocessing.start_processes(
        _process, (str(path / "store"), function, arguments), nprocs=2, start_method="spawn"
    )


def share(inputs, rank):
    return tuple(x[2 * rank : 2 * rank + 2] for x in inputs)


def shard(network, mesh):
    """Each layer, then the rest."""
    for part in network.children():
        if next(part.parameters(), None) is not None:
            fully_shard(part, mesh=mesh)
    return fully_shard(network, mesh=mesh)


def whole(network):
    return {name: p.full_tensor() for name, p in network.named_parameters()}


def steps(network, call, inputs, count=3, optimizer=torch.optim.Adam):
    """Some steps, with `clip_grad_norm_`."""
    optimizer = optimizer(network.parameters(), lr=0.05)
    for _ in range(count):
        optimizer.zero_grad()
        loss(call(*inputs)).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()


@pytest.mark.parametrize("row", ROWS)
def test_data_parallel(alone, row):
    case = make(row)
    twin = copy.deepcopy(case.network)
    wrapped = DistributedDataParallel(case.network)
    steps(case.network, wrapped, case.inputs)
    steps(twin, twin, case.inputs)
    assert_close(state(case.network), state(twin))
    if row not in ("layer+projected", "spectral"):
        other = make(row).network
        other.load_state_dict(wrapped.state_dict())  # with the names of the wrapper
        assert_close(state(other), state(twin))
    expected = {f"module.{name}": tensor for name, tensor in wnrl.fold(twin).state_dict().items()}
    assert_close(dict(wnrl.fold(wrapped).state_dict()), expected)


@pytest.mark.parametrize("norm", NORMALIZERS)
def test_what_a_wrapped_network_is_too_late_for(alone, norm):
    wrapped = DistributedDataParallel(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    for network in (wrapped, nn.Sequential(wrapped, nn.Linear(2, 2))):
        if norm == "none":
            wnrl.normalize(network, norm)
        else:
            with pytest.raises(ValueError, match=r"^normalize before DistributedDataParallel"):
                wnrl.normalize(network, norm, strict=False)
    assert [name for name, _ in wrapped.module[0].named_parameters()] == ["weight", "bias"]


def of_row(row):
    """torch warns where a view is returned: its own attention does, and embeddings, and normalization over channels."""
    views = any(name in row for name in ("attention", "transformer", "lstm", "embedding", "channels"))
    ignored = pytest.mark.filterwarnings("ignore:FSDP2-wrapped module .* returned a view tensor")
    return pytest.param(row, marks=ignored if views else ())


@pytest.mark.parametrize("row", [of_row(row) for row in ROWS])
def test_sharded(alone, row):
    """Forward and backward pass and steps are those of the network before `fully_shard`, as is what it is folded to."""
    case = make(row)
    twin, folded = copy.deepcopy(case.network), wnrl.fold(case.network)
    network = shard(case.network, alone)
    assert_close([g.full_tensor() for g in gradients(network, case.inputs)], gradients(twin, case.inputs))
    network.zero_grad(), twin.zero_grad()
    steps(network, network, case.inputs)
    steps(twin, twin, case.inputs)
    assert_close(whole(network), dict(twin.named_parameters()))
    network.eval(), twin.eval()
    with torch.no_grad():
        for _ in range(2):
            assert_close(network(*case.inputs), twin(*case.inputs))
        for one in (network, twin):
            for parameter in one.parameters():
                local = parameter.to_local() if hasattr(parameter, "to_local") else parameter
                local.view(-1)[-1] += 0.5  # a single entry
        assert_close(network(*case.inputs), twin(*case.inputs))
    wnrl.refresh(folded, network)
    assert_close(folded.eval()(*case.inputs), twin(*case.inputs), rtol=1e-4, atol=1e-5)
    expected = wnrl.fold(make(row).network)
    wnrl.polyak(expected, twin, 0.25)
    averaged = wnrl.fold(make(row).network)
    wnrl.polyak(averaged, network, 0.25)
    assert_close(averaged.state_dict(), expected.state_dict())


def test_what_a_sharded_network_is_too_late_for(alone):
    network = shard(make("weight").plain, alone)
    with pytest.raises(ValueError, match="before fully_shard"):
        wnrl.normalize(network, "weight")
    assert wnrl.normalize(network, "none") is network
    network = shard(make("weight").network, alone)
    with pytest.raises(
        ValueError, match=r"cannot be copied: fold it before fully_shard, and wnrl\.refresh\(folded, network\)"
    ):
        wnrl.fold(network)


@pytest.mark.parametrize("row", [of_row(row) for row in ROWS])
def test_state_dicts_of_sharded_networks(alone, row):
    """Full state dicts go from sharded to unsharded networks and back, also those of plain networks."""
    case = make(row)
    with torch.no_grad():
        for parameter in case.network.parameters():
            parameter.add_(torch.rand_like(parameter))
    sharded, other = shard(copy.deepcopy(case.network), alone), shard(make(row).network, alone)
    full = get_model_state_dict(sharded, options=FULL)
    assert_close(full, dict(case.network.state_dict()))
    set_model_state_dict(other, full, options=FULL)
    assert_close(whole(other), dict(case.network.named_parameters()))
    if not row.startswith("weight") or row == "weight-clip":
        return
    plain = make(row).plain
    set_model_state_dict(other, wnrl.convert_state_dict(plain.state_dict(), other), options=FULL)
    assert_close(other(*case.inputs), plain(*case.inputs))
    stored = {name: t.full_tensor() for name, t in wnrl.torch_state_dict(sharded, "plain").items()}
    assert_close(stored, dict(wnrl.torch_state_dict(case.network, "plain")))


def _compare_with_one_process(rank, rows):
    mesh = init_device_mesh("cpu", (2,))
    for row in rows:
        case = make(row)
        twin, folded = copy.deepcopy(case.network), wnrl.fold(case.network)
        wrapped = DistributedDataParallel(copy.deepcopy(case.network))
        steps(wrapped.module, wrapped, share(case.inputs, rank), optimizer=torch.optim.SGD)
        if row not in OVER_THE_BATCH:
            steps(twin, twin, case.inputs, optimizer=torch.optim.SGD)
            assert_close(state(wrapped.module), state(twin), rtol=1e-3, atol=1e-4)
        sharded = shard(case.network, mesh)
        steps(sharded, sharded, share(case.inputs, rank), optimizer=torch.optim.SGD)
        parameters = whole(sharded)
        assert_close(parameters, dict(wrapped.module.named_parameters()), rtol=1e-3, atol=1e-4)
        wnrl.refresh(folded, sharded)
        twin.load_state_dict(parameters | dict(sharded.named_buffers()))
        assert_close(state(folded), state(wnrl.fold(twin)))


@pytest.mark.slow
def test_two_processes_learn_as_one(tmp_path):
    """Of each normalizer and kind of layer, under DistributedDataParallel and sharded, each on half of the batch."""
    in_two_processes(tmp_path, _compare_with_one_process, ROWS)
