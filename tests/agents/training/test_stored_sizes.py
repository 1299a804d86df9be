"""agents.training.stored_sizes: a resumed run's sizes are those of its checkpoint, or nothing is made of them."""

import json
import resource
import shutil

import pytest

from agents import load
from agents.commands.parser import parse
from agents.registry import AGENTS
from agents.settings.flat import from_flat
from agents.settings.run import TrainSettings
from agents.training import stored_sizes
from agents.training.run import Run
from agents.training.task import Task

AGENT = {"dqn": {"learning_starts": 20, "batch_size": 4, "replay_size": 200}, "ppo": {"rollout_length": 20}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A short run of each agent."""
    folder = tmp_path_factory.mktemp("runs")
    for name, own in AGENT.items():
        run = {"env": "Chain", "hidden": (4,), "device": "cpu", "num_envs": 2, "steps": 60, "eval_interval": 0, **own}
        settings = from_flat(TrainSettings[AGENTS[name].settings], run, run_dir=folder / name)
        with Run(AGENTS[name], settings) as made:
            made.learn()
    return folder


@pytest.fixture
def hostile(runs, tmp_path):
    """A copy of a run with other settings than it had."""

    def change(agent, **settings):
        shutil.copytree(runs / agent, tmp_path / agent)
        path = tmp_path / agent / "config.json"
        config = json.loads(path.read_text())
        config["settings"].update(settings)
        path.write_text(json.dumps(config))
        return tmp_path / agent

    return change


def resume(agent, path, *flags):
    settings = parse(AGENTS[agent], "", ["--resume", str(path), "--steps", "80", *flags])
    return Run(AGENTS[agent], settings)


@pytest.mark.parametrize(
    ("agent", "settings", "said"),
    [
        ("dqn", {"hidden": [20_000, 20_000]}, r"describes a network of 400,\d{3},\d{3} numbers and has \d+: it is"),
        ("dqn", {"hidden": [1] * 200_000}, r"describes 200,000 layers and has 8 tensors: it is damaged"),
        ("dqn", {"hidden": [2**40]}, r"describes a network with 1099511627776: it is damaged"),
        ("dqn", {"num_envs": 10**9}, r"has num_envs 1,000,000,000, its checkpoint 2: one is damaged"),
        ("dqn", {"num_envs": 1}, r"has num_envs 1, its checkpoint 2: one is damaged"),
        ("dqn", {"batch_size": 10**9}, r"has batch_size 1,000,000,000: add --trust"),
        ("dqn", {"n_step": 10**9}, r"has n_step 1,000,000,000: add --trust"),
        ("dqn", {"replay_size": 3 * 10**9}, r"capacity must stay below 2\*\*31 rows"),
        ("ppo", {"hidden": [20_000, 20_000]}, r"describes a network of 80\d,\d{3},\d{3} numbers and has \d+: it is"),
        ("ppo", {"rollout_length": 10**9}, r"has rollout_length 1,000,000,000, its checkpoint 20: one is damaged"),
        (
            "ppo",
            {"lstm": 50_000, "minibatches": 1},
            r"describes a network of [\d,]+ numbers and has \d+: it is damaged",
        ),
        ("ppo", {"stack": 10**6}, "stack must be at most 1000, got 1000000"),
    ],
)
def test_what_a_checkpoint_does_not_hold_is_refused_before_it_takes_memory(hostile, monkeypatch, agent, settings, said):
    path = hostile(agent, **settings)
    made, training = [], Task.training

    def counted(task, num_envs, groups):
        made.append(num_envs)
        return training(task, num_envs, groups)

    monkeypatch.setattr(Task, "training", counted)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=said) as raised:
        resume(agent, path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
    assert "\n" not in str(raised.value)
    assert set(made) <= {2}


def test_python_refuses_it_too(hostile):
    agent = load(hostile("dqn", num_envs=10**9))
    with pytest.raises(ValueError, match="has num_envs 1,000,000,000, its checkpoint 2"):
        agent.learn(20)


def test_what_no_tensor_says_is_a_matter_of_trust(hostile):
    path = hostile("dqn", batch_size=2**21)
    with pytest.raises(ValueError, match="has batch_size 2,097,152: add --trust"):
        resume("dqn", path)
    with pytest.raises(ValueError, match="has batch_size 2,097,152: add --trust"):
        load(path).learn(20)
    with resume("dqn", path, "--trust") as run:
        assert run.steps >= 60
    with load(path, trust=True, device="cpu") as agent:
        assert agent._running().steps >= 60


@pytest.mark.parametrize("agent", AGENT)
def test_the_run_itself_goes_on(hostile, agent):
    with resume(agent, hostile(agent)) as run:
        assert run.steps >= 60


def test_a_checkpoint_without_its_tensors_is_no_way_round(hostile, monkeypatch):
    monkeypatch.setitem(stored_sizes.IN_CHECKPOINT, "seed", "/none")
    with pytest.raises(ValueError, match="has seed 3, its checkpoint 0: one is damaged"):
        resume("dqn", hostile("dqn", seed=3))


def test_settings_of_a_file_make_no_large_network_untrusted(hostile):
    path = hostile("dqn", hidden=[20_000, 20_000])

    def build(*flags):
        settings = parse(AGENTS["dqn"], "", ["--config", str(path), *flags])
        return Run(AGENTS["dqn"], settings, keep=False)

    with pytest.raises(ValueError, match=r"makes a network of 400,\d{3},\d{3} numbers: add --trust"):
        build()
    with build("--hidden", "8", "8") as run:
        assert run.steps == 0
