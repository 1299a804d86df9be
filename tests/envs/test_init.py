import ast
import sys
from pathlib import Path

import numpy as np
import pytest

import envs
from envs import Atari, Chain, EpisodeStatistics, Gym, Recall, make, probe
from tests.envs.own import Paddle


@pytest.mark.parametrize("name", ["Chain", "Chain-v0"])
def test_make_chain(name):
    env = make(env=name, num_envs=3, length=7)
    assert isinstance(env, Chain)
    assert (env.num_envs, env.obs_shape) == (3, (7,))


@pytest.mark.parametrize("name", ["Recall", "Recall-v0"])
def test_make_recall(name):
    env = make(env=name, num_envs=3, delay=4, cues=5)
    assert isinstance(env, Recall)
    assert (env.num_envs, env.obs_shape, env.num_actions, env.delay) == (3, (6,), 5, 4)


def test_make_gym_and_atari():
    assert isinstance(make(env="CartPole-v1", num_envs=2), Gym)
    env = make("space_invaders", num_envs=1, stack=2)
    assert isinstance(env, Atari)
    assert env.obs_shape == (2, 84, 84)


@pytest.mark.parametrize("both", [{}, {"game": "Pong", "env": "CartPole-v1"}])
def test_make_takes_one_of_game_and_env(both):
    with pytest.raises(ValueError, match=r"^give either a game or an env, got game="):
        make(**both)


@pytest.mark.parametrize("kind", [{"env": "Chain"}, {"env": "Recall"}, {"env": "CartPole-v1"}, {"game": "Pong"}])
def test_the_number_of_environments_is_checked(kind):
    with pytest.raises(ValueError, match=r"^num_envs must be at least 1, got 0$"):
        make(**kind, num_envs=0)


def random_action(env, rng):
    """``[N]`` integers, or ``[N, D]`` floats of which some are out of bounds."""
    if env.action_size:
        return rng.normal(0, env.action_high, (env.num_envs, env.action_size))
    return rng.integers(0, env.num_actions, env.num_envs)


@pytest.mark.parametrize(
    "options",
    [
        {"env": "Chain", "length": 3, "max_steps": 5},
        {"env": "Recall", "delay": 3},
        {"env": "CartPole-v1"},
        {"env": "Pendulum-v1", "max_episode_steps": 40},
        {"env": "MountainCarContinuous-v0", "max_episode_steps": 40},
        {"env": "FrozenLake-v1"},
        {"game": "Pong", "max_frames": 60},
    ],
)
def test_every_environment_keeps_to_the_contract(options):
    env, rng = make(num_envs=3, **options), np.random.default_rng(0)
    statistics, before, lasts, firsts, episodes = EpisodeStatistics(3), env.reset(seed=0), 0, 0, []
    assert before.first.all()
    assert (env.num_actions > 0) == (env.action_size == 0) == (env.action_low is None) == (env.action_high is None)
    statistics.update(before)
    for _ in range(150):
        step = env.step(random_action(env, rng))
        assert (step.obs.shape, step.obs.dtype) == ((3, *env.obs_shape), env.obs_dtype)
        assert [f.dtype for f in step[1:]] == [np.float64, np.float32, np.bool_, np.bool_]
        np.testing.assert_array_equal(step.first, before.last)
        assert (step.reward[step.first] == 0).all()
        assert (step.discount[step.first | ~step.last] == 1).all()
        assert not (step.first & step.last).any()
        lasts, firsts = lasts + before.last.sum(), firsts + step.first.sum()
        episodes += statistics.update(step)
        before = step
    assert lasts == firsts > 3
    assert len(episodes) == lasts + before.last.sum()
    env.close()


def test_envs_imports_neither_torch_nor_its_users():
    allowed = {"numpy", "gymnasium", "ale_py", "envs"}
    for path in Path(envs.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            roots = {name.split(".")[0] for name in names} - sys.stdlib_module_names
            assert roots <= allowed, path


def test_exports_exist_and_are_sorted():
    assert sorted(envs.__all__) == envs.__all__
    assert all(hasattr(envs, name) for name in envs.__all__)


def test_a_probe_starts_no_emulator(monkeypatch):
    monkeypatch.setattr("envs.Atari", None)
    assert probe(game="Breakout")[:5] == ((4, 84, 84), np.uint8, None, 0, 4)
    assert probe(game="Breakout", stack=2).obs_shape == (2, 84, 84)
    with pytest.raises(ValueError, match="unknown game 'Breakot': did you mean Breakout"):
        probe(game="Breakot")


def test_a_probe_of_an_environment():
    assert probe(env="Chain", length=7)[:5] == ((7,), np.float32, 2, 0, 1)
    assert probe(env="CartPole-v1", stack=2)[:5] == ((8,), np.float32, 2, 0, 1)
    assert probe(env=Paddle)[:5] == ((4, 10, 10), np.uint8, 3, 0, 1)
    with pytest.raises(ValueError, match=r"^give either a game or an env, got game=None and env=None$"):
        probe()


@pytest.mark.parametrize("ask", [make, probe])
def test_options_that_a_built_in_environment_does_not_have(ask):
    with pytest.raises(ValueError, match=r"^Chain has no option resize, stack: leave it out$"):
        ask(env="Chain", stack=2, resize=(3, 3))
    with pytest.raises(ValueError, match=r"^Chain has no option num_envs: leave it out$"):
        ask(env="Chain", env_kwargs={"num_envs": 3})
    assert ask(env="Recall-v0", env_kwargs={"cues": 4}).num_actions == 4
