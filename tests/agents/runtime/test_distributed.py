"""agents.runtime.distributed: several processes learn together what one learns from their joint batch."""

import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.distributed as dist
from torch import nn

from agents.learner.learner import Learner
from agents.runtime.distributed import OneProcess, Processes, ProcessGoneError, join, share, together
from agents.runtime.seeds import Purpose, generator, process_seed
from agents.settings.dqn import DQNSettings
from agents.settings.flat import from_flat, replace
from agents.settings.learner import LearnerSettings
from agents.settings.run import TrainSettings
from wnrl.normalizers.normalize import normalize

PROCESSES, BATCH = 2, 8
SETTINGS = from_flat(
    TrainSettings[DQNSettings], env="Chain", num_envs=8, batch_size=32, replay_size=1_000, init_batch=500
)


def learner(seed):
    torch.manual_seed(seed)
    network = normalize(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), "weight")
    settings = LearnerSettings(max_grad_norm=0.5, learning_rate=0.1)
    return Learner(network, settings, learning_rate=lambda step: 0.1, outputs=lambda net, obs: net(obs))


def batches():
    generator = torch.Generator().manual_seed(3)
    return [(torch.randn(BATCH, 3, generator=generator), torch.randn(BATCH, 2, generator=generator)) for _ in range(5)]


def learn(learner, part):
    """Updates on one part of each batch."""
    for x, y in batches():
        loss = (learner.network(x[part]) - y[part]).square().mean()
        learner.update(loss, {})
    return [parameter.detach().clone() for parameter in learner.network.parameters()]


def one_of_two(index, folder):
    """What each of the processes does."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=index, world_size=PROCESSES)
    ranks = Processes()
    said = {"sum": ranks.sum(index + 1), "min": ranks.min(index + 5), "broadcast": ranks.broadcast({"of": index})}
    said["gather"] = ranks.gather(torch.tensor([index, 7])).tolist()
    beside = ranks.apart()
    with ThreadPoolExecutor(1) as pool:  # in which they meet in another order
        sums = [lambda: ranks.sum(1), lambda: beside.sum(10)]
        other = pool.submit(sums[1 - index])
        said["apart"] = sorted([sums[index](), other.result(60)])
    mine = learner(seed=index)  # of which the first one's is taken
    mine.share(ranks)
    size = BATCH // PROCESSES
    learned = learn(mine, slice(index * size, (index + 1) * size))
    ranks.sum(0)
    if index == 0:
        with pytest.raises(ProcessGoneError) as raised:
            ranks.sum(1)  # of which the other one knows nothing
        said["gone"] = str(raised.value)
    torch.save((said, learned), f"{folder}/{index}.pt")
    if index:
        os._exit(0)  # as a process that is killed
    dist.destroy_process_group()


def test_two_processes_learn_what_one_learns_from_the_joint_batch(tmp_path):
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=PROCESSES)
    results = [torch.load(tmp_path / f"{index}.pt") for index in range(PROCESSES)]
    gone = results[0][0].pop("gone")
    assert re.fullmatch(r"another process of the run has ended: .*(closed|reset) by peer.{0,60}", gone), gone
    assert [said for said, _ in results] == [
        {"sum": 3, "min": 5, "broadcast": {"of": 0}, "gather": [[0, 7], [1, 7]], "apart": [2, 20]}
    ] * 2
    joint = learn(learner(seed=0), slice(None))
    alone = learn(learner(seed=0), slice(BATCH // PROCESSES))
    for first, second, expected, half in zip(results[0][1], results[1][1], joint, alone, strict=True):
        assert torch.equal(first, second)
        torch.testing.assert_close(first, expected)
        assert not torch.allclose(first, half)


def test_one_process_is_all():
    ranks = OneProcess()
    assert ranks.apart() is ranks
    tensor = torch.ones(2)
    assert ranks.gather(tensor).tolist() == [[1, 1]]
    ranks.average([tensor])
    ranks.broadcast_tensors([tensor])
    assert (ranks.sum(3), ranks.min(4), ranks.broadcast("five"), tensor.tolist()) == (3, 4, "five", [1.0, 1.0])


class Gone:
    def one_is_gone(self):
        return True


def test_a_process_that_ends_while_the_others_wait_is_noticed(monkeypatch):
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    OneProcess().check()
    Processes().check()
    with pytest.raises(ProcessGoneError, match=r"^another process of the run has ended: its connection is closed$"):
        Processes(Gone()).check()


def test_without_torchrun_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert isinstance(join(), OneProcess)
    assert share(SETTINGS, join()) is SETTINGS


class Second(OneProcess):
    """The second of four processes."""

    rank, world_size = 1, 4


def test_a_run_is_split_into_equal_shares_with_seeds_of_their_own(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")  # which gives it its device, where there are several
    own = share(SETTINGS, Second())
    assert own == replace(
        SETTINGS,
        num_envs=2,
        batch_size=8,
        replay_size=250,
        init_batch=125,
        seed=process_seed(0, 1),
        device=own.run.device,
        graphs=False,
    )
    agents = [generator(settings.run.seed, Purpose.AGENT).random() for settings in (own, SETTINGS)]
    assert agents[0] != agents[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_envs": 6}, "num_envs 6 cannot be split among 4 processes: take a multiple of 4"),
        ({"batch_size": 33}, "batch_size 33 cannot be split"),
        ({"learning_starts": 4}, "learning_starts must be at least 5 for 8 environments"),
        ({"graphs": True}, "graphs are of one process: leave --graphs out"),
        ({"norm": "batch"}, "norm batch takes statistics of a batch, which several processes do not share"),
        ({"norm": "mean-batch"}, "norm mean-batch takes statistics"),
    ],
)
def test_what_cannot_be_shared_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        share(replace(SETTINGS, **changes), Second())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("[pair.cc:537] Read error [::1]:9: Connection reset by peer. This is\n typical."), "Read error "),
        (RuntimeError("Connection closed by peer [::1]:9"), "Connection closed by peer"),
        (dist.DistBackendError("NCCL error: remote process exited"), "NCCL error: remote"),
    ],
)
def test_what_torch_says_of_a_process_that_is_gone(error, reason):
    with (
        pytest.raises(ProcessGoneError, match="^another process of the run has ended: " + reason) as raised,
        together(),
    ):
        raise error
    assert "typical" not in str(raised.value)
    assert raised.value.__cause__ is error


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match=r"^shapes$") as raised, together():
        raise RuntimeError("shapes")
    assert not isinstance(raised.value, ProcessGoneError)
