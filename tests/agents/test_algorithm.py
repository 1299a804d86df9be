"""agents.algorithm: the agents in Python."""

import asyncio
import copy
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings

import gymnasium
import numpy as np
import pytest
import torch

import agents
import envs
import wnrl
from agents import A2C, DQN, PPO, PQN, SAC, Reinforce, load
from agents.acting.policies import Recurrence
from agents.algorithm import ALGORITHMS
from agents.commands.parser import parse
from agents.registry import AGENTS
from agents.settings.flat import replace, to_flat
from agents.training.run import Run
from agents.training.trainer import Callback
from agents.watching.bars import width_of
from envs import Chain
from envs.faults import EnvironmentFault
from tests.agents.contract import differences
from tests.agents.training.chain_models import chain_model
from tests.videos import frames_of, needs_ffmpeg
from wnrl.checkpoints.checkpoints import Checkpoints
from wnrl.checkpoints.tensor_files import CheckpointError, read_model
from wnrl.networks.own_torso import OwnTorso

KINDS = [DQN, PQN, PPO, A2C, Reinforce, SAC]
SMALL = {"hidden": (8,), "device": "cpu", "num_envs": 2, "eval_interval": 0, "log_interval": 50}


class Signal(gymnasium.Env):
    """Pays 1 for the action that the observation shows, `start` higher; an episode has 5 steps.

    Its class counts the steps of all that were made.
    """

    steps = 0

    def __init__(self, start=0, render_mode=None):
        self.observation_space = gymnasium.spaces.Box(0, 1, (2,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2, start=start)
        self.start, self.render_mode = start, render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 5
        return self._obs(), {}

    def step(self, action):
        Signal.steps += 1
        assert self.action_space.contains(action)
        reward = float(action - self.start == self.shown)
        self.left -= 1
        return self._obs(), reward, self.left == 0, False, {}

    def _obs(self):
        self.shown = int(self.np_random.integers(2))
        return np.eye(2, dtype=np.float32)[self.shown]


def chain(kind=DQN, **settings):
    own = {"learning_starts": 20, "batch_size": 4, "replay_size": 200} if kind in (DQN, SAC) else {}
    return kind(env="Chain", **{**SMALL, **own, **settings})


def weights(agent):
    return agent._run.agent.acting.state_dict()


# Settings


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", [["env", "CartPole-v1"], ["game", "Pong"]])
def test_settings_are_those_of_the_command_line(kind, task):
    flags = [f"--{task[0]}", task[1], "--norm", "layer", "--seed", "3", "--steps", "5000"]
    expected = parse(AGENTS[kind.spec.name], "", flags)
    agent = kind(**{task[0]: task[1]}, norm="layer", seed=3)
    assert to_flat(agent._settings_for(5000)) == to_flat(expected)


def test_a_keyword_changes_the_defaults_of_others_as_its_flag_does():
    flags = ["--game", "Pong", "--distribution", "implicit", "--munchausen"]
    agent = DQN(game="Pong", distribution="implicit", munchausen=True)
    assert to_flat(agent.settings) == to_flat(parse(AGENTS["dqn"], "", flags))


@pytest.mark.parametrize(
    ("keywords", "error", "line"),
    [
        ({"env": "Chain", "lr": 1e-3}, TypeError, "there is no setting 'lr': did you mean 'learning_rate'?"),
        ({"env": "Chain", "steps": 10}, TypeError, "steps is no setting here: give the number of steps to learn()"),
        ({"env": "Chain", "run_dir": "x"}, TypeError, "run_dir is no setting here: give run_dir to learn()"),
        ({"env": "Chain", "resume": "x"}, TypeError, "resume is no setting here: load() the run, and learn() goes on"),
        ({"env": "Chain", "config": "x"}, TypeError, "config is a file for the command line: give its settings here"),
        ({}, ValueError, 'name the task: game="Breakout" for Atari or env="CartPole-v1", one of the two'),
        ({"game": "Brakout"}, ValueError, "Breakout"),
        ({"env": "Chain", "game": "Pong"}, ValueError, "name the task"),
        ({"env": "Chain", "seed": -1}, ValueError, "seed must not be negative, got -1"),
        ({"env": "Chain", "norm": "weigth"}, ValueError, "weigth"),
        ({"env": "Chain", "preset": "paper"}, ValueError, "preset 'paper' is defined for Atari games"),
        ({"env": "Chain", "preset": "rainbw"}, ValueError, "unknown preset 'rainbw' (nearest: rainbow): choose from"),
        ({"env": "Chain", "device": "cuda:99"}, ValueError, "device 'cuda:99' is not available; this machine has cpu"),
        ({"env": 3}, TypeError, "env must be an id, a class or function"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(keywords, error, line):
    with pytest.raises(error) as raised:
        DQN(**keywords)
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", KINDS)
def test_an_agent_that_cannot_take_the_actions_is_refused_as_its_run_would_be(kind):
    settings = kind.spec.defaults({}, observation="vector")
    settings = replace(settings, env="Pendulum-v1", num_envs=1, device="cpu")
    said = ""
    try:
        Run(kind.spec, settings, keep=False).close()
    except ValueError as error:
        said = str(error)
    assert bool(said) == (kind in (DQN, PQN, SAC))
    if said:
        assert said == f"{kind.__name__} takes discrete actions, here they are continuous: use PPO or A2C"
        with pytest.raises(ValueError, match=f"^{said}$"):
            kind(env="Pendulum-v1")
    else:
        kind(env="Pendulum-v1")


# Learning


@pytest.mark.parametrize("kind", KINDS)
def test_the_run_is_that_of_the_command_line(kind, tmp_path):
    agent = chain(kind, seed=4).learn(60, run_dir=tmp_path / "python")
    kept = read_model(tmp_path / "python" / "model")
    flags = ["--resume", str(tmp_path / "python"), "--steps", "80"]
    settings = parse(AGENTS[kind.spec.name], "", flags)  # config.json says the same
    assert (settings.run.steps, settings.run.schedule_end, settings.run.seed) == (80, 60, 4)
    other = chain(kind, seed=4).learn(60)
    assert differences(weights(agent), weights(other)) == []
    assert kept[1]["step"] == agent.steps >= 60


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_call_goes_on(kind):
    settings = {"schedule_steps": 100}
    whole, parts = chain(kind, **settings).learn(100), chain(kind, **settings).learn(60)
    steps = parts.steps
    parts.learn(100 - steps)
    assert parts.steps == whole.steps
    assert differences(weights(whole), weights(parts)) == []


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    agent = chain().learn(40)
    assert agent.run_dir is None
    assert list(tmp_path.iterdir()) == []


def test_the_folder_belongs_to_the_first_call(tmp_path):
    agent = chain().learn(30, run_dir=tmp_path / "run")
    agent.learn(30, run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="run_dir belongs to the first learn"):
        agent.learn(30, run_dir=tmp_path / "other")
    with pytest.raises(ValueError, match="this run is written to no folder: run_dir belongs to the first learn"):
        chain().learn(30).learn(30, run_dir=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_folder_that_is_in_use_is_refused_before_anything_is_made(tmp_path):
    chain().learn(30, run_dir=tmp_path / "run")
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    with pytest.raises(ValueError, match=r"already holds files: choose another run_dir, or go on with load\("):
        chain().learn(30, run_dir=tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before


def test_learning_on_with_a_step_size_of_0_comes_with_a_warning():
    agent = chain(learning_rate_schedule="linear").learn(40)
    with pytest.warns(UserWarning, match="the learning rate is 0 after step 40, where the schedules ended: make the"):
        agent.learn(20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chain(learning_rate_schedule="linear", schedule_steps=100).learn(40).learn(20)


def test_learning_on_with_a_clip_range_of_0_comes_with_a_warning_at_the_callers_line():
    short = {"num_envs": 1, "rollout_length": 8, "minibatches": 1, "epochs": 1, "learning_rate_schedule": "constant"}
    agent = chain(PPO, clip_range_schedule="linear", **short).learn(16)
    with pytest.warns(UserWarning, match="the clip range is 0 after step 16, .*clip_range_schedule=") as found:
        agent.learn(8)
    assert found[0].filename == __file__


def test_what_goes_wrong_is_a_warning_where_nothing_is_shown(tmp_path, monkeypatch, capfd):
    path, save = tmp_path / "run", Checkpoints.save

    def full(self, step, state):
        if step < 40:
            raise CheckpointError("no space")
        return save(self, step, state)

    monkeypatch.setattr(Checkpoints, "save", full)
    with pytest.warns(UserWarning, match="no checkpoint at step 20: no space"):
        chain(num_envs=1, checkpoint_interval=20, log_interval=10).learn(60, run_dir=path)
    newest = max((path / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="cannot be used, damaged or not finite: continuing from the one before"):
        assert load(path, device="cpu").learn(5).steps == 45
    newest = max((path / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    capfd.readouterr()
    load(path, device="cpu").learn(5, progress=True)
    assert "continuing from the one before" in capfd.readouterr().out


def test_a_policy_as_other_libraries_take_it_is_refused():
    with pytest.raises(TypeError, match=r"an agent takes one task and no policy: DQN\(env='CartPole-v1', …\)"):
        DQN("MlpPolicy", "CartPole-v1")


def test_a_run_that_is_all_warm_up_says_that_it_learns_nothing(capfd):
    with pytest.warns(UserWarning, match="nothing will be learned: all steps until 90 are random, see the setting"):
        chain(learning_starts=90).learn(60, progress=True)
    assert "nothing will be learned: all steps until 90 are random (--learning-starts)" in capfd.readouterr().out
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chain(learning_starts=50).learn(60)


@pytest.mark.parametrize("wrong", [print, Callback, [Callback]])
def test_what_is_no_callback_is_refused_before_the_folder_is_made(wrong, tmp_path):
    with pytest.raises(TypeError, match=r"callbacks must be objects of subclasses of agents.Callback, got "):
        chain().learn(30, run_dir=tmp_path / "run", callbacks=wrong)
    assert not (tmp_path / "run").exists()


class Stopping(Callback):
    def __init__(self, at):
        self.at = at

    def step(self, trainer, before):
        if trainer.steps >= self.at:
            trainer.stop()


def test_callbacks_are_those_of_the_call_and_may_stop_it():
    agent = chain(num_envs=1)
    agent.learn(100, callbacks=Stopping(30))
    assert agent.steps == 30
    agent.learn(100, callbacks=[Stopping(30)])
    assert agent.steps == 31
    agent.learn(20)
    assert agent.steps == 51


def test_progress_is_shown_when_asked_for(capfd):
    chain().learn(60)
    assert capfd.readouterr() == ("", "")
    chain().learn(60, progress=True)
    assert "of 60: " in capfd.readouterr().out


# Environments


@pytest.mark.parametrize("kind", KINDS)
def test_an_environment_of_ones_own_is_learned(kind):
    own = {"learning_starts": 20, "batch_size": 4} if kind in (DQN, SAC) else {}
    agent = kind(env=lambda: Signal(3), **SMALL, **own).learn(60)
    assert agent.predict(np.array([0, 1], np.float32)) in (3, 4)
    assert 0 <= agent.evaluate(4).mean <= 5


def test_dqn_learns_an_environment_class():
    agent = DQN(env=Signal, seed=0, device="cpu", num_envs=4, eval_interval=0, learning_starts=200).learn(1_500)
    assert agent.evaluate(20, deterministic=True).mean == 5
    assert agent.predict(np.eye(2, dtype=np.float32), deterministic=True).tolist() == [0, 1]


class Stepping(gymnasium.Env):
    """The return of an episode is the number of steps that this object has ever made; episodes have 10 steps."""

    observation_space = gymnasium.spaces.Box(0, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self):
        self.made = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 10
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.made, self.left = self.made + 1, self.left - 1
        return np.zeros(1, np.float32), float(self.left == 0) * self.made, self.left == 0, False, {}


def test_training_and_evaluation_never_step_the_same_object():
    mine = Stepping()
    agent = DQN(env=mine, **{**SMALL, "num_envs": 1}, learning_starts=20, batch_size=4).learn(50)
    assert agent.evaluate(3, num_envs=1).scores == (10, 20, 30)
    assert mine.made == 0


# Acting


def test_predict_takes_one_observation_or_a_batch():
    agent = chain().learn(60)
    obs = np.eye(5, dtype=np.float32)
    one = agent.predict(obs[0], deterministic=True)
    assert np.ndim(one) == 0
    assert agent.predict(obs, deterministic=True).shape == (5,)
    assert agent.predict(obs, deterministic=True)[0] == one
    with pytest.raises(ValueError, match=r"5"):
        agent.predict(np.zeros((2, 3), np.float32))


def test_predictions_are_sampled_unless_they_are_to_be_deterministic():
    agent, obs = chain(PPO).learn(60), np.zeros((200, 5), np.float32)
    assert len(set(agent.predict(obs, deterministic=True).tolist())) == 1
    assert set(agent.predict(obs).tolist()) == {0, 1}
    explorer = chain(eval_epsilon=1.0).learn(60)
    assert len(set(explorer.predict(obs, deterministic=True).tolist())) == 1
    assert set(explorer.predict(obs).tolist()) == {0, 1}


def test_before_it_has_learned_it_acts_by_its_initial_weights():
    agent = chain(seed=3)
    before = agent.predict(np.eye(5, dtype=np.float32), deterministic=True)
    initial = {name: value.clone() for name, value in weights(agent).items()}
    with pytest.warns(UserWarning, match="nothing will be learned"):
        agent.learn(1)
    assert differences(weights(agent), initial) == []
    assert agent.steps <= 2
    assert before.tolist() == agent.predict(np.eye(5, dtype=np.float32), deterministic=True).tolist()


def test_continuous_actions_lie_within_their_bounds():
    agent = PPO(env="Pendulum-v1", **SMALL).learn(64)
    action = agent.predict(np.zeros((50, 3), np.float32))
    assert action.shape == (50, 1)
    assert np.abs(action).max() <= 2


def test_a_recurrent_agent_plays_by_a_player_that_keeps_its_state(monkeypatch):
    agent = PPO(env="Recall", lstm=8, device="cpu", eval_interval=0).learn(200)
    obs = np.zeros(agent._probed.probe().obs_shape, np.float32)
    with pytest.raises(ValueError, match=r"player = agent.player\(\), then player\(obs\)"):
        agent.predict(obs)
    player, rng = agent.player(deterministic=True), np.random.default_rng(0)
    seen = rng.normal(size=(6, *obs.shape)).astype(np.float32)
    actions = [player(row) for row in seen]
    player.reset()
    assert [player(row) for row in seen] == actions
    assert np.ndim(actions[0]) == 0
    assert states_change(agent, seen, monkeypatch)


def states_change(agent, seen, monkeypatch):
    """Whether each of these observations moves the state on from that of the one before."""
    states, call = [], Recurrence.__call__

    def noted(self, timestep):
        outputs = call(self, timestep)
        states.append(self.state.h.clone())
        return outputs

    monkeypatch.setattr(Recurrence, "__call__", noted)
    player = agent.player()
    for row in [seen[0]] * 3:
        player(row)
    return not torch.equal(states[0], states[1]) and not torch.equal(states[1], states[2])


@pytest.mark.parametrize("overlaps", [False, True])
def test_a_player_follows_the_network_that_learns(overlaps):
    agent, obs = chain(PPO, overlap_rollouts=overlaps), np.eye(5, dtype=np.float32)
    player = agent.player(deterministic=True)
    player(obs)
    agent.learn(400)
    assert player(obs).tolist() == agent.predict(obs, deterministic=True).tolist()
    plays = agent._run.agent.newest()
    assert differences(plays.state_dict(), wnrl.fold(agent._run.agent.network).state_dict()) == []
    for parameter in plays.parameters():
        parameter.data.neg_()
    assert player(obs).tolist() == agent.predict(obs, deterministic=True).tolist()


def test_scores_are_those_of_the_command(tmp_path, capsys, monkeypatch):
    from agents.commands.evaluate import main

    agent = chain(PPO).learn(100, run_dir=tmp_path / "run")
    scores = agent.evaluate(5, seed=2)
    monkeypatch.setattr(sys, "argv", ["evaluate.py", str(tmp_path / "run"), "--episodes", "5", "--seed", "2"])
    assert main("") == 0
    assert f"{scores.mean:.1f} ± {scores.std:.1f} over 5 whole games" in capsys.readouterr().out
    assert agent.evaluate(5, seed=2) == scores
    sampled = [agent.evaluate(20, seed=seed, deterministic=False) for seed in (2, 2, 3)]
    assert sampled[0] == sampled[1] != sampled[2]


class Bright(Chain):
    """A chain whose picture is as bright as its state."""

    def __init__(self, num_envs, render_mode=None, **options):
        super().__init__(num_envs, **options)

    def render(self):
        return np.full((32, 48, 3), 50 * self._position[0], np.uint8)


@needs_ffmpeg
def test_a_notebook_shows_the_games(tmp_path, monkeypatch):
    monkeypatch.setitem(envs.TOYS, "Chain", Bright)
    agent = chain(DQN)
    monkeypatch.setattr(agent._running().agent, "newest", lambda: chain_model(right=True))
    video = agent.watch(2, deterministic=True)
    assert video.scores == (1.0, 1.0)
    assert "data:video/mp4;base64," in video._repr_html_()
    frames, fps = frames_of(video.save(tmp_path / "a.mp4"))
    assert fps == 30
    assert np.mean(frames, axis=(1, 2, 3)) == pytest.approx([0, 50, 100, 150, 200] * 2, abs=6)
    valued = agent.watch(seconds=0.1, fps=15, values=True, deterministic=True)
    frames, fps = frames_of(valued.save(tmp_path / "b.mp4"))
    assert frames.shape == (1, 416, 624 + width_of(416), 3)  # two would last for 0.133 s
    assert fps == 15
    assert valued.scores == ()  # it is full before the end
    with pytest.raises(ValueError, match=r"must be above 0, got 0, 60\.0 and None"):
        agent.watch(0)
    agent.close()


@needs_ffmpeg
def test_a_loaded_agent_is_watched_too(tmp_path, monkeypatch):
    monkeypatch.setitem(envs.TOYS, "Chain", Bright)
    chain(PPO).learn(40, run_dir=tmp_path / "run").close()
    agent = load(tmp_path / "run")
    assert agent.watch(2, seed=5, values=True).scores == agent.evaluate(2, seed=5, num_envs=1).scores
    assert agent.watch(seed=1).data == agent.watch(seed=1).data


def test_an_environment_without_pictures_cannot_be_watched(monkeypatch):
    with pytest.raises(ValueError, match="Chain has no picture to render"):
        chain(DQN).watch()
    monkeypatch.setitem(envs.TOYS, "Chain", Bright)
    monkeypatch.setitem(sys.modules, "imageio.v2", None)
    with pytest.raises(ValueError, match=r'pip install "wnrl\[video\]"'):
        chain(DQN).watch()


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (
            lambda agent: agent.learn(total_timesteps=10),
            r"learn() has no argument 'total_timesteps': did you mean learn(steps",
        ),
        (lambda agent: agent.learn(10, progress_bar=True), r"did you mean learn(progress=...)?"),
        (lambda agent: agent.evaluate(n_eval_episodes=3), r"did you mean evaluate(episodes=...)?"),
        (lambda agent: agent.evaluate(3.5), "episodes must be int, got 3.5"),
        (lambda agent: agent.evaluate("3"), "episodes must be int, got '3'"),
        (lambda agent: agent.evaluate(3, seed=0.5), "seed must be int, got 0.5"),
        (lambda agent: agent.predict(observation=0), r"predict() has no argument 'observation': it takes obs, determ"),
        (lambda agent: load("x", model_name="best"), "did you mean load(model=...)?"),
    ],
)
def test_a_wrong_argument_is_one_line(call, line):
    with pytest.raises(TypeError) as refusal:
        call(chain())
    assert line in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_number_of_games_may_be_a_float_that_is_whole():
    agent = chain()
    assert agent.evaluate(3.0) == agent.evaluate(3)


@pytest.mark.parametrize("player", [False, True])
def test_what_reset_and_step_return_is_no_observation(player):
    agent, env = DQN(env=Signal, **SMALL), Signal()
    act = agent.player() if player else agent.predict
    with pytest.raises(ValueError, match=r"^that is all of what reset\(\) returns, \(obs, info\): give obs alone$"):
        act(env.reset())
    with pytest.raises(ValueError, match=r"^that is all of what step\(\) returns, .*: give obs alone$"):
        act(env.step(0))
    with pytest.raises(ValueError, match=r"observations must be \[2\] or \[N, 2\], got \[3\]"):
        act(np.zeros(3))
    assert act(env.reset()[0]) in (0, 1)


class Pair(Signal):
    """Its observations look like what `reset` returns."""

    def __init__(self):
        super().__init__()
        space = gymnasium.spaces.Box(0, 1, (1,), np.float32)
        self.observation_space = gymnasium.spaces.Tuple((space, gymnasium.spaces.Dict({"a": space})))

    def _obs(self):
        first, second = super()._obs()
        return np.array([first]), {"a": np.array([second])}


def test_an_observation_that_looks_like_a_result_of_reset_is_one():
    assert DQN(env=Pair, **SMALL).predict(Pair().reset()[0]) in (0, 1)


def test_no_game_is_no_evaluation():
    with pytest.raises(ValueError, match="episodes and num_envs must be at least 1, got 0 and 8"):
        chain().learn(30).evaluate(0)


class Failing(Signal):
    """Fails at the 30th step of all that were made."""

    steps_made = 0

    def __init__(self):
        super().__init__()
        self.simulator = object()  # no plain data: whether it can be resumed is not tried

    def step(self, action):
        Failing.steps_made += 1
        if Failing.steps_made == 30:
            raise OSError("the simulator is gone")
        return super().step(action)


class Once(torch.nn.Module):
    """A network that fails in one of its passes with gradients, as where a device is full."""

    left = 0

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 8)

    def forward(self, obs):
        if torch.is_grad_enabled():
            Once.left -= 1
            if Once.left == 0:
                raise torch.OutOfMemoryError("no memory is left")
        return self.layer(obs).relu()


@pytest.mark.parametrize("kind", [PPO, PQN, Reinforce])
@pytest.mark.parametrize("within", ["a step", "an update"])
def test_a_run_that_an_error_broke_off_goes_on(tmp_path, kind, within):
    Failing.steps_made, Once.left = 0, 0
    task, error = (Signal, torch.OutOfMemoryError) if within == "an update" else (Failing, EnvironmentFault)
    Once.left = 7 if within == "an update" else 0
    with pytest.raises(error):
        kind(env=task, network=Once(), **SMALL).learn(400, run_dir=tmp_path / "run")
    broken = Checkpoints(tmp_path / "run" / "checkpoints").last_step
    agent = load(tmp_path / "run", env=Signal, network=Once())
    assert agent.steps == broken > 0
    assert agent.learn(broken + 200).steps >= broken + 200


def test_a_player_draws_on_from_game_to_game():
    """Those of a player that is made anew are the same games again."""
    agent, obs = PPO(env=Signal, **SMALL).learn(20), np.zeros(2, np.float32)

    def games(player):
        found = []
        for _ in range(3):
            player.reset()
            found.append([int(player(obs)) for _ in range(20)])
        return found

    first, second, third = games(agent.player())
    assert len({str(game) for game in (first, second, third)}) == 3
    assert games(agent.player()) == [first, second, third]


def test_a_run_that_broke_off_within_a_step_does_not_go_on_with_parts_of_it():
    Failing.steps_made = 0
    agent = PPO(env=Failing, **SMALL)
    with pytest.raises(
        EnvironmentFault, match="environment 0 failed at step 30: OSError: the simulator is gone"
    ) as fault:
        agent.learn(100)
    assert isinstance(fault.value.__cause__, OSError)
    with pytest.raises(RuntimeError, match="the run broke off in the middle of a step: go on from its last checkpoint"):
        agent.learn(100)
    assert agent.evaluate(2).lengths == (5, 5)


def test_an_error_of_a_callback_comes_after_a_whole_step():
    class Wrong(Callback):
        def step(self, trainer, before):
            raise KeyError("mine")

    agent, whole = chain(num_envs=1, schedule_steps=60), chain(num_envs=1, schedule_steps=60).learn(60)
    with pytest.raises(KeyError, match="mine"):
        agent.learn(60, callbacks=Wrong())
    agent.learn(60 - agent.steps)
    assert differences(weights(agent), weights(whole)) == []


def test_a_run_within_a_run_is_refused():
    class Nested(Callback):
        def step(self, trainer, before):
            agent.learn(100)

    agent = chain()
    with pytest.raises(RuntimeError, match="the run is learning already"):
        agent.learn(30, callbacks=Nested())


def test_a_maker_of_one_environment_for_all_is_refused():
    shared = Signal()
    with pytest.raises(ValueError, match="<lambda> returns the same environment again, which all would share"):
        DQN(env=lambda: shared, **SMALL).learn(30)


@pytest.mark.parametrize("reward", [None, float("nan"), float("inf")])
def test_a_reward_that_is_no_number_is_refused_at_the_start(reward):
    class Wrong(Signal):
        def step(self, action):
            obs, _, *others = super().step(action)
            return obs, reward, *others

    with pytest.raises(ValueError, match=r"Wrong: step\(\) must return a number as the reward"):
        DQN(env=Wrong)


@pytest.mark.parametrize("value", [np.int64(3), {1, 2}, Signal, float("inf"), (3, 4), {1: 2}])
def test_what_config_json_cannot_hold_is_no_argument_of_an_environment(value):
    with pytest.raises(ValueError, match=r"env_kwargs size must be a number, text, .*: give a function that makes the"):
        DQN(env=Signal, env_kwargs={"size": value})


def test_arguments_of_an_environment_arrive_as_they_are():
    agent = DQN(env=Signal, env_kwargs={"start": 3}, **SMALL)
    assert agent.predict(np.zeros(2, np.float32)) in (3, 4)


def test_agents_made_in_threads_at_once_have_their_own_initial_weights():
    def initial(agent):
        agent.predict(np.zeros(5, np.float32))
        return {name: value.clone() for name, value in weights(agent).items()}

    expected, found = initial(chain(hidden=(64, 64))), []
    workers = [threading.Thread(target=lambda: found.append(initial(chain(hidden=(64, 64))))) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [differences(one, expected) for one in found] == [[]] * 6


# Loading


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_agent_acts_evaluates_and_goes_on(kind, tmp_path):
    settings = {"schedule_steps": 100}
    agent, whole = chain(kind, **settings).learn(60, run_dir=tmp_path / "run"), chain(kind, **settings).learn(100)
    loaded = load(tmp_path / "run", device="cpu")
    assert type(loaded) is kind
    obs = np.eye(5, dtype=np.float32)
    assert loaded.predict(obs, deterministic=True).tolist() == agent.predict(obs, deterministic=True).tolist()
    assert loaded.evaluate(4) == agent.evaluate(4)
    assert loaded.steps == agent.steps
    loaded.learn(100 - loaded.steps)
    assert loaded.steps == whole.steps
    assert differences(weights(loaded), weights(whole)) == []
    assert read_model(tmp_path / "run" / "model")[1]["step"] == loaded.steps


def test_the_best_model_can_be_loaded(tmp_path):
    chain(eval_interval=20, eval_epsilon=1.0).learn(60, run_dir=tmp_path / "run")
    assert load(tmp_path / "run", model="best").steps == read_model(tmp_path / "run" / "best")[1]["step"] < 60


def test_a_run_that_was_killed_is_loaded_from_its_checkpoint(tmp_path):
    chain().learn(60, run_dir=tmp_path / "run")
    for file in (tmp_path / "run").glob("model.*"):
        file.unlink()
    loaded = load(tmp_path / "run", device="cpu")
    assert loaded.predict(np.eye(5, dtype=np.float32)).shape == (5,)
    assert loaded.learn(10).steps >= 70


def test_an_agent_that_wrote_nothing_can_be_saved_at_its_end(tmp_path):
    whole, agent = chain(schedule_steps=100).learn(100), chain(schedule_steps=100).learn(60)
    agent.save(tmp_path / "kept")
    loaded = load(tmp_path / "kept", device="cpu")
    loaded.learn(100 - loaded.steps)
    assert differences(weights(loaded), weights(whole)) == []


def test_an_environment_made_in_python_has_to_be_given_again(tmp_path):
    DQN(env=Signal, **SMALL, learning_starts=20, batch_size=4).learn(40, run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match=r"Signal is an environment made in Python: give it, as in agents.load\(RUN, "):
        load(tmp_path / "run")
    loaded = load(tmp_path / "run", env=Signal, device="cpu")
    assert loaded.evaluate(2).lengths == (5, 5)
    assert loaded.learn(10).steps >= 50


def test_a_model_that_there_is_not_is_refused(tmp_path):
    chain().learn(30, run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="model must be 'last' or 'best', got 'final'"):
        load(tmp_path / "run", model="final")


def test_load_refuses_an_environment_or_network_that_the_run_did_not_have(tmp_path):
    chain().learn(30, run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="learned in Chain: env is for one that was made in Python"):
        load(tmp_path / "run", env=Signal)
    with pytest.raises(ValueError, match="learned in Chain: env is for one that was made in Python"):
        load(tmp_path / "run", env="Acrobot-v1")
    with pytest.raises(ValueError, match="was not made in Python: leave network out"):
        load(tmp_path / "run", network=own_network)
    DQN(env=Signal, **SMALL, learning_starts=20, batch_size=4).learn(40, run_dir=tmp_path / "own")
    with pytest.raises(ValueError, match=r"learned from observations \[2\], its environment has \[1\] now"):
        load(tmp_path / "own", env=Stepping)


@pytest.mark.parametrize("setting", [{"torso": "mlp"}, {"activation": "tanh"}, {"impala_width": 2}], ids=str)
def test_settings_of_a_torso_are_refused_beside_a_network_of_ones_own(setting):
    with pytest.raises(TypeError, match=f"{next(iter(setting))} has no effect on a network of your own"):
        chain(network=own_network, **setting)


def test_what_follows_a_runs_length_follows_that_of_the_first_learn(tmp_path):
    """PQN's ε falls over a fifth of it, also where the agent was saved before."""
    numbers = {
        "num_envs": 2,
        "rollout_length": 4,
        "minibatches": 1,
        "hidden": (8,),
        "eval_interval": 0,
        "device": "cpu",
    }
    whole = PQN(env="Chain", **numbers)
    whole.save(tmp_path / "run")
    loaded = load(tmp_path / "run", device="cpu").learn(50)
    assert loaded.settings.agent.exploration.epsilon_steps == 10
    assert whole.learn(50).settings.agent.exploration.epsilon_steps == 10
    again = load(tmp_path / "run", device="cpu")
    assert (again.settings.agent.exploration.epsilon_steps, again.settings.run.schedule_steps) == (10, 50)


def test_two_that_go_on_in_one_folder_do_not_overwrite_each_other(tmp_path):
    agent = chain().learn(40, run_dir=tmp_path / "run")
    other = load(tmp_path / "run", device="cpu").learn(60)
    with pytest.raises(
        ValueError, match=r"has a checkpoint of step 10\d, and this run is at 4\d: another process or agent"
    ):
        agent.learn(10)
    assert Checkpoints(tmp_path / "run" / "checkpoints").latest()[0] == other.steps


@pytest.mark.parametrize(
    ("part", "call"),
    [
        ("best.safetensors", "load({!r}, model='best')"),
        ("model.safetensors", "load({!r})"),
        ("config.json", "load({!r})"),
        ("checkpoints", "load({!r})"),
        ("checkpoints/40.safetensors", "load({!r})"),
    ],
)
def test_a_file_of_a_run_is_refused_with_the_folder_to_give(part, call, tmp_path):
    (run := tmp_path / "run").mkdir()
    (run / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="is in the folder of a run") as refusal:
        load(run / part)
    assert str(refusal.value) == f"{run / part} is in the folder of a run: {call.format(str(run))}"


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not the folder of a run"):
        load(tmp_path)


# A network of one's own


def own_network(obs_shape):
    return torch.nn.Sequential(torch.nn.Linear(*obs_shape, 7), torch.nn.Tanh(), torch.nn.Linear(7, 6))


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_of_ones_own_learns_and_is_normalized_and_loaded(kind, tmp_path):
    agent, whole = (chain(kind, network=own_network, schedule_steps=100) for _ in range(2))
    agent.learn(60, run_dir=tmp_path / "run"), whole.learn(100)
    own = [module for module in agent._run.agent.learner.network.modules() if isinstance(module, OwnTorso)]
    assert own
    assert all(isinstance(torso.module[0], wnrl.WeightNormLinear) for torso in own)
    with pytest.raises(
        ValueError, match=r"own_network is a network made in Python: give it, as in agents.load\(RUN, ne"
    ):
        load(tmp_path / "run")
    loaded, obs = load(tmp_path / "run", network=own_network, device="cpu"), np.eye(5, dtype=np.float32)
    assert loaded.predict(obs, deterministic=True).tolist() == agent.predict(obs, deterministic=True).tolist()
    loaded.learn(100 - loaded.steps)
    assert differences(weights(loaded), weights(whole)) == []


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_a_lazy_layer_gets_its_shape_and_the_seed_draws_its_weights(tmp_path):
    def lazy(obs_shape):
        return torch.nn.Sequential(torch.nn.LazyLinear(7), torch.nn.Tanh(), torch.nn.LazyLinear(6))

    agent, plain = chain(PPO, network=lazy), chain(PPO, network=own_network)
    agent.predict(obs := np.eye(5, dtype=np.float32))
    plain.predict(obs)
    assert weights(agent).keys() == weights(plain).keys()
    assert all(torch.equal(weight, weights(plain)[name]) for name, weight in weights(agent).items())
    agent.learn(600, run_dir=tmp_path / "run")
    loaded = load(tmp_path / "run", network=lazy)
    assert np.array_equal(loaded.predict(obs, deterministic=True), agent.predict(obs, deterministic=True))


def test_another_network_than_that_of_the_run_is_refused(tmp_path):
    chain(network=own_network).learn(40, run_dir=tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"the network that was given is not the one of .*run/model: RuntimeError Error"
    ):
        load(tmp_path / "run", network=lambda shape: torch.nn.Linear(*shape, 3))


def test_a_network_of_ones_own_is_named_before_the_bar(capfd):
    chain(network=own_network).learn(40, progress=True)
    assert "network    own_network of your own, " in capfd.readouterr().out


def test_the_command_line_says_that_a_network_was_made_in_python(tmp_path):
    chain(network=torch.nn.Flatten()).learn(40, run_dir=tmp_path / "run")
    settings = parse(AGENTS["dqn"], "", ["--resume", str(tmp_path / "run"), "--steps", "80"])
    with pytest.raises(ValueError, match="Flatten is a network made in Python"):
        Run(AGENTS["dqn"], settings)


def test_a_network_that_does_not_fit_is_refused_before_a_folder_is_made(tmp_path):
    with pytest.raises(ValueError, match=r"the network does not take observations of shape \(5,\)"):
        chain(network=torch.nn.Linear(3, 2)).learn(40, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Threads, interrupts, the end


def test_a_closed_agent_does_not_act_by_its_initial_weights(tmp_path):
    with chain() as agent:
        agent.learn(40, run_dir=tmp_path / "run")
    obs = np.zeros(5, np.float32)
    calls = (
        lambda: agent.predict(obs),
        lambda: agent.evaluate(1),
        lambda: agent.learn(10),
        lambda: agent.player()(obs),
    )
    for call in calls:
        with pytest.raises(RuntimeError, match=r"the agent is closed: load\('.*run'\)"):
            call()
    with chain() as unused:
        pass
    assert unused.learn(30).steps >= 30


def test_one_environment_for_training_and_evaluation_is_refused():
    one = Signal()
    with pytest.raises(ValueError, match="returns the same environment again, which all would share"):
        DQN(env=lambda: one, **{**SMALL, "num_envs": 1}).learn(10)


def test_an_agent_that_has_not_begun_can_be_pickled():
    agent = DQN(env="CartPole-v1", **SMALL)
    assert to_flat(pickle.loads(pickle.dumps(agent)).settings) == to_flat(agent.settings)


def test_schedules_of_an_agent_that_was_saved_before_it_learned_end_with_its_first_learn(tmp_path):
    chain(num_envs=1).save(tmp_path / "run")
    agent = load(tmp_path / "run", device="cpu").learn(30)
    assert agent.settings.run.schedule_end == 30
    assert load(tmp_path / "run").settings.run.schedule_end == 30


def test_a_missing_models_advice_is_pythons(tmp_path):
    chain(num_envs=1).learn(30, run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match=r"has no best.safetensors yet: .* load it with model='last'"):
        load(tmp_path / "run", model="best")


def test_an_environment_is_made_to_look_at_once(tmp_path):
    made = []
    agent = DQN(env=lambda: made.append(None) or Signal(), **SMALL, learning_starts=20, batch_size=4)
    assert len(made) == 1
    agent.predict(np.zeros(2, np.float32))
    assert len(made) == 1 + SMALL["num_envs"]  # those to learn in
    agent.learn(40, run_dir=tmp_path / "run")
    assert len(made) == 1 + 2 * SMALL["num_envs"] + 2  # to find out whether it can be resumed
    agent.learn(40)
    assert len(made) == 1 + 2 * SMALL["num_envs"] + 2


@pytest.mark.parametrize("steps", [0, -5])
def test_no_step_is_no_learning(steps):
    with pytest.raises(ValueError, match=f"steps must be at least 1, got {steps}"):
        chain().learn(30).learn(steps)


class Interrupting(Callback):
    """Interrupts the process, as Ctrl-C does, at a step."""

    def __init__(self, at):
        self.at = at

    def step(self, trainer, before):
        if before < self.at <= trainer.steps:
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_leaves_a_checkpoint_and_the_agent_goes_on(tmp_path):
    """As when a notebook's cell is interrupted and run again."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background may ignore it
    try:
        agent, whole = chain(num_envs=1, schedule_steps=100), chain(num_envs=1, schedule_steps=100).learn(100)
        with pytest.raises(KeyboardInterrupt, match=r"stopped at step 50, with a checkpoint in .*run: learn\(\) goes"):
            agent.learn(100, run_dir=tmp_path / "run", callbacks=[Interrupting(50)])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert agent.steps == Checkpoints(tmp_path / "run" / "checkpoints").latest()[0] == 50
    agent.learn(50)
    assert differences(weights(agent), weights(whole)) == []


def in_thread(work):
    results = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join(120)
    (result,) = results
    return result


def test_it_learns_in_a_thread_and_in_a_loop_of_coroutines_as_in_the_main_thread():
    expected = weights(chain().learn(60))
    assert differences(weights(in_thread(lambda: chain().learn(60))), expected) == []

    async def both():
        direct = chain().learn(60)
        return direct, await asyncio.to_thread(lambda: chain().learn(60))

    for agent in asyncio.run(both()):
        assert differences(weights(agent), expected) == []


def threads():
    return len(os.listdir("/proc/self/task"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
def test_runs_after_each_other_leave_no_emulator_threads_and_no_replay_behind():
    settings = {"game": "Pong", "device": "cpu", "num_envs": 2, "eval_interval": 0, "replay_size": 200}
    settings |= {"learning_starts": 20, "batch_size": 4}
    counts = []
    for _ in range(3):
        agent = DQN(**settings).learn(30)
        size = agent._run.agent.sampler.replay
        del agent
        assert len(gc.get_referrers(size)) <= 1  # this frame alone
        del size
        time.sleep(0.1)
        counts.append(threads())
    assert counts[2] <= counts[0]
    agent = DQN(**settings).learn(30)
    agent.close()
    time.sleep(0.1)
    assert threads() <= counts[0]


# Names


def test_the_public_names():
    assert set(agents.__all__) >= {"A2C", "DQN", "PPO", "PQN", "SAC", "Callback", "Reinforce", "Scores", "load"}
    assert set(dir(agents)) >= set(agents.__all__)
    assert {kind.spec.name for kind in KINDS} == set(AGENTS) == set(ALGORITHMS)
    assert all(kind.__doc__ for kind in KINDS)
    with pytest.raises(AttributeError, match="module 'agents' has no attribute 'DQM'"):
        agents.DQM  # noqa: B018
    with pytest.raises(ImportError):
        exec("from agents import DQM")


def test_an_agent_is_copied_before_its_run_begins_and_refused_in_one_line_after(tmp_path):
    agent = chain(seed=3)
    twins = agent.learn(30), copy.deepcopy(chain(seed=3)).learn(30)
    assert differences(*(weights(twin) for twin in twins)) == []
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"^a DQN that learns .* copied or pickled: save\(FOLDER\) it, and load"):
            copied(agent)
    other = chain().learn(30, run_dir=tmp_path / "run")
    with pytest.raises(TypeError, match=rf"copied or pickled: load\('{tmp_path / 'run'}'\)$"):
        copy.deepcopy(other)


def test_names_come_without_torch_until_they_are_used():
    code = "import sys, agents; assert 'torch' not in sys.modules; agents.DQN; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert torch.is_tensor(torch.zeros(1))
