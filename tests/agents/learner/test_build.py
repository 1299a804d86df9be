"""agents.learner.build: a learner, from the settings of its run."""

import pytest
import torch

from agents.learner.build import build_learner, check_discrete, learning_rate_schedule, obs_dtype
from agents.settings.flat import from_flat, replace
from agents.settings.learner import LearnerSettings
from agents.settings.run import RunSettings
from agents.training.task import Task
from envs import Chain, Gym
from tests.agents.learner.test_network import SHAPE
from wnrl.checkpoints.tensor_files import write_checkpoint, write_model
from wnrl.normalizers.folding import fold

RUN = from_flat(RunSettings, env="Chain", hidden=(8,), device="cpu", num_envs=3)


def learner(run=RUN, begin=0, **changes):
    settings = LearnerSettings(**changes)
    return build_learner(run, settings, SHAPE, lambda network, obs: network(obs).q_values, begin=begin)


def test_a_learner_has_the_runs_network_and_the_settings_optimizer():
    made, same, other = learner(), learner(), learner(replace(RUN, seed=1))
    assert torch.equal(made.network.head.v, same.network.head.v)
    assert not torch.equal(made.network.head.v, other.network.head.v)
    made = learner(optimizer="adamax", learning_rate=0.5, init="he")
    assert type(made.optimizer) is torch.optim.Adamax
    assert made.optimizer.param_groups[0]["lr"] == 0.5
    assert torch.equal(made.network.head.bias.detach(), torch.full((3,), 0.1))
    assert (made.device, made.num_updates) == (torch.device("cpu"), 0)


def test_a_learner_begins_with_a_trained_network_but_not_when_it_resumes(tmp_path):
    trained = learner(replace(RUN, seed=5))
    write_model(tmp_path / "model", fold(trained.network).state_dict(), {"network": SHAPE})
    obs = torch.randn(16, 4)
    expected = trained.network(obs).q_values
    begun = learner(replace(RUN, init_from=tmp_path))
    torch.testing.assert_close(begun.network(obs).q_values, expected)
    state = {"trainer": {"agent": {"learner": {"network": trained.network.state_dict()}}}}
    write_checkpoint(tmp_path / "checkpoints" / "000000000001.safetensors", state)
    resumed = learner(replace(RUN, init_from=tmp_path, resume=tmp_path))
    assert torch.equal(resumed.network.head.v, learner().network.head.v)
    with pytest.raises(ValueError, match="init he would have no effect with init_from, a trained network"):
        learner(replace(RUN, init_from=tmp_path), init="he")


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_precision_reaches_the_learner(precision, dtype):
    assert learner(replace(RUN, precision=precision)).dtype == dtype


@pytest.mark.parametrize(("asked", "compiles"), [(True, True), (False, False), (None, False)])
def test_a_cpu_compiles_where_it_is_asked_to(asked, compiles, monkeypatch):
    monkeypatch.setattr("agents.learner.build.check_compiler", lambda device: None)
    made = learner(replace(RUN, compile=asked))
    assert (made.compiler.enabled, made.compiler.asked) == (compiles, compiles)
    assert fold(made.network)._compiled_call_impl is None  # what acts is called with batches of many sizes


def test_a_machine_without_a_compiler_is_refused(monkeypatch):
    def compile(function, **options):
        raise RuntimeError("backend='inductor' raised:\nInvalidCxxCompiler: No working C++ compiler found\n\nSet X")

    monkeypatch.setattr(torch, "compile", compile)
    with pytest.raises(ValueError, match=r"for cpu, leave --compile out: InvalidCxxCompiler: No working C\+\+") as info:
        learner(replace(RUN, compile=True))
    assert "\n" not in str(info.value)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="'cuda:99' is not available"):
        learner(replace(RUN, device="cuda:99"))


@pytest.mark.parametrize(("norm", "schedule", "falls"), [
    ("weight", "auto", False), ("projected", "auto", True), ("layer+projected", "auto", True),
    ("batch+projected", "auto", True), ("weight-clip", "auto", False), ("weight", "linear", True),
    ("projected", "constant", False),
])  # fmt: skip
def test_the_learning_rate_falls_for_projected_weights_and_on_request(norm, schedule, falls):
    settings = LearnerSettings(learning_rate=1e-4, learning_rate_schedule=schedule)
    rate = learning_rate_schedule(replace(RUN, norm=norm, steps=300), settings, begin=100)
    expected = [1e-4, 1e-4, 5e-5, 0.0] if falls else [1e-4] * 4
    assert [rate(step) for step in (0, 100, 200, 300)] == pytest.approx(expected)
    rate = learning_rate_schedule(replace(RUN, norm=norm, steps=300), settings, begin=100, interval=50)
    expected = [1e-4, 7.5e-5, 5e-5, 2.5e-5] if falls else [1e-4] * 4
    assert [rate(step) for step in (150, 200, 250, 300)] == pytest.approx(expected)  # of four updates
    longer = replace(RUN, norm=norm, steps=900, schedule_steps=300)
    assert learning_rate_schedule(longer, settings, begin=100, interval=50) == rate


# Environments' types


def test_observations_have_their_environments_type():
    assert obs_dtype(Chain(1)) == torch.float32
    assert obs_dtype(Task(from_flat(RunSettings, game="Pong", num_envs=1).task).training(1)) == torch.uint8


def test_continuous_actions_are_refused_with_what_takes_them():
    check_discrete(Chain(1), "DQN")
    with pytest.raises(ValueError, match=r"DQN takes discrete actions, here they are continuous: use PPO or A2C"):
        check_discrete(Gym("Pendulum-v1", 1), "DQN")
