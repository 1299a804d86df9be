"""AtariVecEnv: frame for frame Gymnasium's wrappers, with the lives, rewards and infos of make_atari_env."""

import copy
import pickle
import sys
import types
from collections import deque
from functools import partial

import ale_py  # noqa: F401 - registers the games
import cv2
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers import AtariPreprocessing
from sb3_contrib import QRDQN, MaskablePPO
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.atari_wrappers import MaxAndSkipEnv, WarpFrame
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
    VecVideoRecorder,
    is_vecenv_wrapped,
)

from envs import Atari
from tests.products import mostly_slow
from wnrl.sb3 import AtariVecEnv, FrameReplayBuffer

FIRE = 1  # in every game that has it
SHORT = {"max_frames": 40, "noop_max": 4}  # games of 10 steps


class PressFire(gymnasium.Wrapper):
    def reset(self, **kwargs):
        self.env.reset(**kwargs)
        obs, _, _, _, info = self.env.step(FIRE)
        return obs, info


class Twin:
    """Gymnasium's wrappers, with stacks, lost lives, scores and resets by hand."""

    def __init__(self, game, fires, cut, max_frames=108_000):
        self.emulator = gymnasium.make(
            f"ALE/{game}-v5",
            frameskip=1,
            repeat_action_probability=0.0,
            max_num_frames_per_episode=max_frames + fires,  # its own limit counts the FIRE of a reset too
        )
        env = PressFire(self.emulator) if fires else self.emulator
        self.env = AtariPreprocessing(env, noop_max=0, frame_skip=4, screen_size=84)
        self.fires, self.cut = fires, cut

    def reset(self):
        self.score, self.serves = 0.0, False
        self.begin(self.env.reset()[0])
        self.lives = self.env.ale.lives()
        return np.stack(self.frames)

    def begin(self, frame):
        self.frames = deque([np.zeros((84, 84), np.uint8)] * 3 + [frame], maxlen=4)

    def step(self, action):
        frame, reward, terminated, truncated, _ = self.env.step(FIRE if self.serves else action)
        self.frames.append(frame)
        self.score += reward
        lives, frames, obs = self.env.ale.lives(), self.env.ale.getEpisodeFrameNumber(), np.stack(self.frames)
        lost, over = self.cut and 0 < lives < self.lives, terminated or truncated
        info = {"lives": lives, "episode_frame_number": frames}
        info["TimeLimit.truncated"] = truncated and not terminated and not lost
        self.lives, self.serves = lives, lost and self.fires
        if over or lost:
            info["terminal_observation"] = obs
            self.begin(frame)
        if over:
            info["episode"] = {"r": self.score, "l": frames}
            self.reset()
        return np.stack(self.frames), reward, over or lost, info


def assert_same_info(ours, truth):
    ours = dict(ours)
    if "episode" in ours:
        assert ours["episode"].pop("t") > 0
    if "terminal_observation" in truth:
        np.testing.assert_array_equal(ours.pop("terminal_observation"), truth.pop("terminal_observation"), strict=True)
    assert ours == truth


@pytest.mark.parametrize(
    ("game", "num_envs", "fires", "cut", "clip", "max_frames", "steps", "dones", "games"),
    [
        ("Breakout", 2, True, True, True, 108_000, 300, 15, 2),  # lost lives, after which FIRE is pressed
        ("Breakout", 1, False, True, False, 108_000, 300, 6, 1),  # the same without FIRE
        ("Breakout", 2, True, False, True, 300, 80, 2, 2),  # lives that end nothing, and the limit
        ("SpaceInvaders", 1, True, True, False, 108_000, 300, 1, 0),
        ("Pong", 1, False, True, True, 301, 80, 1, 1),  # no lives; a limit within a step
        ("Freeway", 1, False, True, False, 201, 60, 1, 1),  # no FIRE
        ("Qbert", 1, True, True, True, 108_000, 250, 3, 0),
    ],
)
def test_frame_for_frame_as_gymnasiums_wrappers(game, num_envs, fires, cut, clip, max_frames, steps, dones, games):
    options = {"noop_max": 0, "fire_reset": fires, "max_frames": max_frames}
    env = AtariVecEnv(game, num_envs, terminal_on_life_loss=cut, clip_reward=clip, **options)
    twins = [Twin(game, fires, cut, max_frames) for _ in range(num_envs)]
    np.testing.assert_array_equal(env.reset(), [twin.reset() for twin in twins], strict=True)
    rng, count = np.random.default_rng(0), np.zeros(2, int)
    for _ in range(steps):
        actions = rng.integers(env.action_space.n, size=num_envs)
        obs, rewards, done, infos = env.step(actions)
        for i, twin in enumerate(twins):
            stack, reward, over, info = twin.step(actions[i])
            count += over, "episode" in info
            np.testing.assert_array_equal(obs[i], stack, strict=True)
            assert (rewards[i], done[i]) == (np.sign(reward) if clip else reward, over)
            assert_same_info(infos[i], info)
    assert count.tolist() == [dones, games]


def hosts(game, max_frames=108_000, **wrapper_kwargs):
    """The host's environment as its algorithms see it."""
    emulator, wrappers = {"max_num_frames_per_episode": max_frames}, {"noop_max": 0, **wrapper_kwargs}
    return VecTransposeImage(VecFrameStack(make_atari_env(game, 1, env_kwargs=emulator, wrapper_kwargs=wrappers), 4))


@pytest.mark.parametrize(
    ("options", "steps", "dones", "games", "cuts"),
    [
        ({}, 580, 4, 1, 0),
        pytest.param({"terminal_on_life_loss": False, "clip_reward": False}, 580, 1, 1, 0, marks=pytest.mark.slow),
        ({"max_frames": 800}, 420, 3, 2, 2),
    ],
)
def test_rewards_lives_and_scores_are_those_of_make_atari_env(options, steps, dones, games, cuts):
    """In a game without FIRE; the host makes a no-op after a lost life, which is made here too."""
    truth, env = (make("MsPacmanNoFrameskip-v4", **options) for make in (hosts, partial(AtariVecEnv, noop_max=0)))
    assert (env.observation_space, env.action_space) == (truth.observation_space, truth.action_space)
    pixels, count, rng = [(env.reset(), truth.reset())], np.zeros(3, int), np.random.default_rng(0)
    for _ in range(steps):
        action = rng.integers(env.action_space.n, size=1)
        obs, reward, done, (ours,) = env.step(action)
        their_obs, their_reward, their_done, (theirs,) = truth.step(action)
        assert (reward, done) == (their_reward, their_done)
        assert (obs.dtype, reward.dtype, done.dtype) == (their_obs.dtype, their_reward.dtype, their_done.dtype)
        assert ours.keys() | {"frame_number"} == theirs.keys()
        for name in ("lives", "episode_frame_number", "TimeLimit.truncated"):
            assert ours[name] == theirs[name]
        if "episode" in ours:
            assert [ours["episode"][name] for name in "rl"] == [theirs["episode"][name] for name in "rl"]
        elif done:
            assert not env.step(np.array([0]))[2]
        else:
            pixels.append((obs[:, -1], their_obs[:, -1]))
        count += done[0], "episode" in ours, theirs["TimeLimit.truncated"]
    assert count.tolist() == [dones, games, cuts]
    shares = [(np.abs(one.astype(int) - other) > 1).mean() for one, other in pixels]
    assert np.mean(shares) < 0.01


def steps_to_first_lost_life():
    env = AtariVecEnv("Breakout", noop_max=0)
    env.reset()
    return next(t for t in range(1, 100) if env.step(np.array([0]))[2])


def test_a_life_lost_in_the_step_of_the_frame_limit_is_an_end_and_no_truncation():
    steps = steps_to_first_lost_life()
    for cut in (True, False):
        env = AtariVecEnv("Breakout", noop_max=0, max_frames=4 * steps, terminal_on_life_loss=cut)
        env.reset()
        for _ in range(steps):
            _, _, done, infos = env.step(np.array([0]))
        assert done.all()
        assert infos[0]["lives"] == 4
        assert infos[0]["TimeLimit.truncated"] == (not cut)
        assert "episode" in infos[0]
        assert env.reset_infos == [{"lives": 5}]
        assert (env._serves.any(), env._lives.tolist()) == (False, [5])  # the new game has had its FIRE
        assert not env.step(np.array([0]))[2].any()


def test_no_life_left_amid_a_game_is_no_lost_one():
    """As in Q*bert for a few frames, and in all games that have no lives."""
    env = AtariVecEnv("Pong", 1)
    env.reset()
    env._lives = np.array([2])
    assert not env.step(np.array([0]))[2].any()


def test_after_a_lost_life_fire_is_pressed_instead_of_the_action_and_only_then():
    """Without it the ball would wait for the agent: no frame differs from the next."""
    frames = {}
    for fires in (True, False):
        env = AtariVecEnv("Breakout", noop_max=0, fire_reset=fires)
        env.reset()
        env.step(np.array([FIRE]))
        while not (row := env.step(np.array([0])))[2]:
            pass
        frames[fires] = [row[0]] + [env.step(np.array([0]))[0] for _ in range(12)]
    assert len({frame[0, -1].tobytes() for frame in frames[True]}) > 10
    assert len({frame[0, -1].tobytes() for frame in frames[False]}) <= 2
    env, other = (AtariVecEnv("Breakout", noop_max=0) for _ in range(2))
    for one in (env, other):
        one.reset()
        while not one.step(np.array([0]))[2]:
            pass
    np.testing.assert_array_equal(env.step(np.array([2]))[0], other.step(np.array([3]))[0])
    assert (env.step(np.array([2]))[0] != other.step(np.array([3]))[0]).any()


def play(env, steps, seed=0):
    """Observations, rewards and dones of random play, `[steps + 1, N, ...]`."""
    rng, obs = np.random.default_rng(seed), env.reset()
    rows = [(obs, np.zeros(len(obs), np.float32), np.zeros(len(obs), bool))]
    rows += [env.step(rng.integers(env.action_space.n, size=len(obs)))[:3] for _ in range(steps)]
    return [np.stack(field) for field in zip(*rows, strict=True)]


def assert_same(one, other):
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=True)


@pytest.fixture(scope="module")
def breakout():
    return play(AtariVecEnv("Breakout", 2, seed=5, max_frames=200, sticky_actions=0.25, num_threads=1), 120)


@pytest.mark.parametrize("num_threads", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_seeds_give_the_same_play_for_any_number_of_threads(breakout, num_threads):
    options = {"max_frames": 200, "sticky_actions": 0.25, "num_threads": num_threads}
    env = AtariVecEnv("BreakoutNoFrameskip-v4", 2, seed=5, **options)
    assert_same(play(env, 120), breakout)
    assert breakout[2].sum() > 4
    assert env.seed(5) == [5, 6]
    assert_same(play(env, 120), breakout)
    assert (play(env, 20)[0] != breakout[0][:21]).any()  # a seed is used once
    alone = AtariVecEnv("Breakout", 1, seed=5, **options)
    np.testing.assert_array_equal(alone.reset(), breakout[0][0, :1])


def test_a_reset_amid_a_game_starts_a_new_one():
    """Here after a lost life, when FIRE would be pressed and the stack be filled."""
    env, fresh = (AtariVecEnv("Breakout", noop_max=0, max_frames=300) for _ in range(2))
    env.reset()
    while not env.step(np.array([0]))[2]:
        pass
    env._score[:] = 7
    np.testing.assert_array_equal(env.reset(), fresh.reset())
    assert env.reset_infos == [{"lives": 5}]
    for action in np.random.default_rng(0).integers(4, size=(75, 1)):
        one, other = env.step(action), fresh.step(action)
        assert_same(one[:3], other[:3])
    assert [one[3][0]["episode"][key] for key in "rl"] == [other[3][0]["episode"][key] for key in "rl"]


def test_any_seed_is_taken_and_none_draws_one():
    env, other = AtariVecEnv("Breakout"), AtariVecEnv("Breakout")
    for seed in (0, 2**32 - 1, np.int64(3)):
        env.seed(seed), other.seed(seed)
        assert_same(play(env, 5), play(other, 5))
    env.seed(None)
    env.reset()
    starts = [AtariVecEnv("Breakout", 3).reset() for _ in range(2)]
    assert (starts[0] != starts[1]).any()


def test_a_step_runs_between_async_and_wait(monkeypatch):
    calls = []
    for name in ("send", "recv"):
        plain = getattr(Atari, name)
        monkeypatch.setattr(Atari, name, lambda *args, name=name, plain=plain: calls.append(name) or plain(*args))
    env, other = (AtariVecEnv("Breakout", 2, seed=0) for _ in range(2))
    first = env.reset(), other.reset()
    env.step_async(np.array([1, 2]))
    assert calls == ["send"]
    with pytest.raises(RuntimeError, match="step_wait"):
        env.step_async(np.array([1, 2]))
    obs, *_ = env.step_wait()
    assert calls == ["send", "recv"]
    np.testing.assert_array_equal(obs, other.step(np.array([1, 2]))[0])
    with pytest.raises(RuntimeError, match="step_async"):
        env.step_wait()
    env.step_async(np.array([3, 3]))
    env.seed(0)
    np.testing.assert_array_equal(env.reset(), first[1])  # the pending step is dropped
    assert not env.step(np.array([0, 0]))[2].any()


def test_wrong_actions_are_told_and_change_nothing():
    env, other = (AtariVecEnv("Breakout", 2, seed=0) for _ in range(2))
    env.reset(), other.reset()
    env._serves[:] = True  # checked though they are not used
    for action, message in (
        ([0, 4], r"action must be in 0 … 3, got \[0, 4\]"),
        ([-1, 0], r"action must be in 0 … 3, got \[-1, 0\]"),
        ([0, 0, 0], r"action must be \[2\] integer, got \[3\] int64"),
        ([0.0, 1.0], r"action must be \[2\] integer, got \[2\] float64"),
    ):
        with pytest.raises(ValueError, match=message):
            env.step(np.array(action))
    env._serves[:] = False
    assert_same(env.step(np.array([0, 1]))[:3], other.step(np.array([0, 1]))[:3])


def test_wrong_arguments_are_told():
    with pytest.raises(ValueError, match="unknown game 'Brekout': did you mean Breakout"):
        AtariVecEnv("Brekout")
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        AtariVecEnv("Breakout", 0)
    with pytest.raises(TypeError, match="life_loss"):
        AtariVecEnv("Breakout", life_loss=True)
    with pytest.raises(RuntimeError, match="reset"):
        AtariVecEnv("Breakout").step(np.array([0]))
    env = AtariVecEnv("Breakout")
    env.set_options({"difficulty": 1})
    with pytest.raises(ValueError, match=r"no reset options, got .*difficulty"):
        env.reset()
    env.set_options()
    env.reset()


def test_what_is_known_of_each_environment():
    env = AtariVecEnv("Breakout", 2)
    env.reset()
    assert env.get_attr("render_mode") == [None] * 2
    assert env.get_attr("lives", [1]) == [5]
    assert env.get_attr("action_space", 1) == [env.action_space]
    assert env.env_method("get_action_meanings", indices=0) == [["NOOP", "FIRE", "RIGHT", "LEFT"]]
    assert env.env_is_wrapped(Monitor, [0, 1]) == [True, True]
    assert env.env_is_wrapped(gymnasium.Wrapper) == [True] * 2
    assert env.env_is_wrapped(AtariPreprocessing) == [False] * 2
    assert (env.has_attr("lives"), env.has_attr("action_masks"), env.unwrapped) == (True, False, env)
    with pytest.raises(AttributeError, match="no 'action_masks': there is render_mode"):
        env.get_attr("action_masks")
    with pytest.raises(AttributeError, match="no 'reset': there is get_action_meanings"):
        env.env_method("reset", indices=[0])
    with pytest.raises(AttributeError, match="'lives' cannot be set"):
        env.set_attr("lives", 3)


def test_it_can_be_closed_twice_and_neither_copied_nor_pickled():
    env = AtariVecEnv("Breakout")
    env.reset()
    for attempt in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="AtariVecEnv cannot be pickled or copied"):
            attempt(env)
    env.step_async(np.array([0]))
    env.close()
    env.close()
    for call in (env.reset, lambda: env.step(np.array([0]))):
        with pytest.raises(RuntimeError, match="AtariVecEnv is closed"):
            call()


def test_time_steps_are_not_overwritten_by_later_ones():
    env, rng = AtariVecEnv("Breakout", 2, seed=0, **SHORT), np.random.default_rng(0)
    held = [env.reset()]
    copies = [held[0].copy()]
    for _ in range(25):
        obs, *_, infos = env.step(rng.integers(4, size=2))
        new = [obs] + [info["terminal_observation"] for info in infos if "terminal_observation" in info]
        held, copies = held + new, copies + [array.copy() for array in new]
    assert len(held) == 26 + 4
    for one, other in zip(held, copies, strict=True):
        np.testing.assert_array_equal(one, other)


class Randomly:
    """Predicts random actions."""

    def __init__(self, num_actions):
        self.rng, self.num_actions = np.random.default_rng(0), num_actions

    def predict(self, obs, state=None, episode_start=None, deterministic=False):
        return self.rng.integers(self.num_actions, size=len(obs)), state


@pytest.mark.filterwarnings("error")
def test_evaluation_takes_true_scores_of_whole_games():
    env = AtariVecEnv("SpaceInvaders", 2, seed=0, max_frames=1_000)
    scores, lengths = evaluate_policy(Randomly(6), env, 4, return_episode_rewards=True)
    assert len(scores) == 4
    assert all(score % 5 == 0 for score in scores)
    assert max(scores) > 20  # clipped, a game has less
    assert all(1_000 <= length <= 1_031 for length in lengths)  # in frames, with the no-ops


def test_scores_are_sums_of_the_rewards_as_they_are(monkeypatch):
    """float32 has 24 bits: 123456789 is 3 less than its nearest number there."""
    env, games = AtariVecEnv("Breakout", clip_reward=False, **SHORT), []
    recv = env._atari._emulators.recv
    monkeypatch.setattr(env._atari._emulators, "recv", lambda: _paid(*recv()))
    env.reset()
    for _ in range(25):
        _, reward, _, infos = env.step(np.zeros(1, int))
        games += [info["episode"]["r"] for info in infos if "episode" in info]
    assert reward.dtype == np.float32
    assert games == [10 * 123_456_789] * 2


def _paid(obs, reward, *rest):
    """What the emulators return, with another reward."""
    return obs, np.full_like(reward, 123_456_789), *rest


def test_a_monitor_on_top_counts_clipped_rewards_of_lives():
    with pytest.warns(UserWarning, match="already wrapped with a `Monitor`"):
        env = VecMonitor(AtariVecEnv("SpaceInvaders", seed=0, max_frames=400))
    *_, dones = play(env, 99)
    assert not dones.any()
    *_, done, infos = env.step(np.array([0]))
    assert done.all()
    assert all(info["episode"]["r"] < 20 and info["episode"]["l"] == 100 for info in infos)


def test_rewards_can_be_normalized_without_observations():
    env = AtariVecEnv("Breakout", seed=0, **SHORT)
    normalized = VecNormalize(AtariVecEnv("Breakout", seed=0, **SHORT), norm_obs=False)
    for one, other in zip(play(env, 15)[::2], play(normalized, 15)[::2], strict=True):
        np.testing.assert_array_equal(one, other)
    pickle.dumps(normalized)


def test_the_picture_is_that_of_environment_0(monkeypatch, tmp_path):
    for module in ("moviepy", "moviepy.video", "moviepy.video.io", "moviepy.video.io.ImageSequenceClip"):
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    written = []
    clip = types.SimpleNamespace(write_videofile=lambda path: None)
    make_clip = lambda frames, fps: written.append((np.stack(frames), fps)) or clip  # noqa: E731
    sys.modules["moviepy.video.io.ImageSequenceClip"].ImageSequenceClip = make_clip
    plain = AtariVecEnv("Breakout", 2, seed=0, render_mode="rgb_array", **SHORT)
    env = VecVideoRecorder(plain, str(tmp_path), lambda step: step == 0, video_length=24)
    assert (env.render_mode, plain.metadata["render_modes"]) == ("rgb_array", ["human", "rgb_array"])
    obs, *_ = play(env, 24)
    env.close()
    ((frames, fps),) = written
    assert (frames.shape, frames.dtype, fps) == ((25, 210, 160, 3), np.uint8, 15)
    for picture, stack in zip(frames, obs[:, 0], strict=True):
        grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (84, 84), interpolation=cv2.INTER_AREA)
        assert np.abs(grey.astype(int) - stack[-1]).max() <= 4


def test_nothing_is_rendered_unless_asked_for():
    env = AtariVecEnv("Breakout")
    env.reset()
    with pytest.warns(UserWarning, match="no `render_mode` was passed"):
        assert env.render() is None
    with pytest.raises(RuntimeError, match='render_mode="rgb_array"'):
        env.get_images()


SMALL = {"features_extractor_kwargs": {"features_dim": 16}, "net_arch": [16]}
LEARNERS = {
    "PPO": (PPO, {"n_steps": 16, "batch_size": 16, "n_epochs": 1}),
    "A2C": (A2C, {}),
    "DQN": (DQN, {"buffer_size": 200, "learning_starts": 40, "train_freq": 8, "batch_size": 8}),
    "QRDQN": (QRDQN, {"buffer_size": 200, "learning_starts": 40, "train_freq": 8, "batch_size": 8}),
}


def make_model(name, env, policy="CnnPolicy", **more):
    kind, settings = LEARNERS[name]
    return kind(policy, env, policy_kwargs=SMALL, seed=0, device="cpu", **settings, **more)


@pytest.mark.parametrize("name", mostly_slow(LEARNERS, "PPO", "DQN"))
def test_algorithms_learn_evaluate_and_are_saved(name, tmp_path):
    env = AtariVecEnv("Breakout", 2, seed=0, max_frames=60)
    model = make_model(name, env)
    assert model.get_env() is env  # not transposed
    model.learn(96)
    assert len(model.ep_info_buffer) == 6  # whole games of 15 steps: 3 in each environment
    assert {episode["l"] for episode in model.ep_info_buffer} <= set(range(60, 91))
    assert torch.isfinite(torch.cat([p.flatten() for p in model.policy.parameters()])).all()
    evaluation = AtariVecEnv("Breakout", 1, seed=1, **SHORT)
    assert evaluate_policy(model, evaluation, 1)[0] >= 0
    model.save(tmp_path / "model")
    obs = evaluation.reset()
    other = type(model).load(tmp_path / "model", env=evaluation, device="cpu")
    assert other.n_envs == 1
    np.testing.assert_array_equal(other.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])
    other.set_env(AtariVecEnv("Breakout", 1))
    other.learn(48)


def test_a_seeded_model_makes_the_same_run_again():
    runs = []
    for _ in range(2):
        model = make_model("A2C", AtariVecEnv("Breakout", max_frames=40))
        model.learn(30)
        runs.append([p.detach().numpy() for p in model.policy.parameters()] + [model._last_obs])
    assert_same(*runs)


def test_models_move_between_the_hosts_environments_and_these(tmp_path):
    theirs = VecFrameStack(make_atari_env("BreakoutNoFrameskip-v4", 1), 4)
    env = AtariVecEnv("Breakout", 1)
    make_model("A2C", theirs).save(tmp_path / "model")
    A2C.load(tmp_path / "model", env=env).learn(10)
    model = make_model("A2C", env)
    model.set_env(theirs)
    assert is_vecenv_wrapped(model.get_env(), VecTransposeImage)
    model.learn(10)


def test_callbacks_evaluate_in_it(tmp_path):
    model = make_model("A2C", AtariVecEnv("Breakout", max_frames=40))
    evaluation = EvalCallback(AtariVecEnv("Breakout", **SHORT), eval_freq=5, n_eval_episodes=2, verbose=0)
    model.learn(20, callback=evaluation)
    assert np.isfinite(evaluation.best_mean_reward)


def test_the_frame_replay_buffer_holds_the_same_transitions():
    """Lost lives, games' ends and the limit; terminal observations and zero-padded stacks."""
    env, n = AtariVecEnv("Breakout", 2, seed=0, max_frames=600), 2
    buffers = [
        kind(400, env.observation_space, env.action_space, "cpu", n, handle_timeout_termination=True)
        for kind in (ReplayBuffer, FrameReplayBuffer)
    ]
    rng, obs, ends = np.random.default_rng(0), env.reset(), 0
    for _ in range(200):
        actions = rng.integers(4, size=n)
        next_obs, rewards, dones, infos = env.step(actions)
        real = np.stack([info.get("terminal_observation", o) for info, o in zip(infos, next_obs, strict=True)])
        for buffer in buffers:
            buffer.add(obs, real, actions, rewards, dones, infos)
        obs, ends = next_obs, ends + dones.sum()
    assert ends > 8
    samples = []
    for buffer in buffers:
        np.random.seed(0)
        samples.append(buffer.sample(300))
    for one, other in zip(*samples, strict=True):
        assert one is other is None or torch.equal(one, other)
    assert buffers[1].nbytes < 0.2 * sum(
        array.nbytes for array in (buffers[0].observations, buffers[0].next_observations)
    )


def test_a_dqn_learns_with_the_frame_replay_buffer_and_our_policy():
    from wnrl.sb3.dqn import CnnPolicy

    model = make_model("DQN", AtariVecEnv("Breakout", 2, **SHORT), CnnPolicy, replay_buffer_class=FrameReplayBuffer)
    model.learn(96)
    assert model._n_updates == 4  # every 8 steps, after 40


def test_a_game_has_no_action_masks():
    model = MaskablePPO("CnnPolicy", AtariVecEnv("Breakout"), n_steps=16, batch_size=16, policy_kwargs=SMALL)
    with pytest.raises(ValueError, match="Environment does not support action masking"):
        model.learn(32)


@pytest.mark.slow
@pytest.mark.parametrize(
    "game", ["Breakout", "Pong", "SpaceInvaders", "Seaquest", "MsPacman", "Qbert", "BeamRider", "Enduro"]
)
def test_few_pixels_differ_from_the_hosts(game):
    """Prints the share of the newest frames' pixels that differ by more than one of 255 levels, in 1,000 steps."""
    options = {"noop_max": 0, "fire_reset": False, "terminal_on_life_loss": False, "clip_reward": False}
    emulator = gymnasium.make(f"ALE/{game}-v5", frameskip=1, repeat_action_probability=0.0)
    env, truth, rng = AtariVecEnv(game, **options), WarpFrame(MaxAndSkipEnv(emulator)), np.random.default_rng(0)
    pairs = [(env.reset(), truth.reset()[0])]
    for _ in range(1_000):
        action = rng.integers(env.action_space.n)
        obs, reward, done, _ = env.step(np.array([action]))
        frame, their_reward, terminated, truncated, _ = truth.step(action)
        assert (reward[0], done[0]) == (their_reward, terminated or truncated)
        if done:
            truth.reset()
        else:
            pairs.append((obs, frame))
    share = np.mean([np.abs(obs[0, -1].astype(int) - frame[..., 0]) > 1 for obs, frame in pairs])
    print(f"\n{game}: {share:.2%}")
    assert share < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("game", "starts"), [("Breakout", True), ("DonkeyKong", True), ("BeamRider", False)])
def test_fire_alone_starts_the_next_life_in_most_games_that_wait_for_a_key(game, starts):
    """Beam Rider waits for the second key that the host presses, which is the agent's to press here."""
    different = {}
    for fires in (True, False):
        env, rng = AtariVecEnv(game, seed=0, noop_max=0, fire_reset=fires), np.random.default_rng(0)
        env.reset()
        while not (row := env.step(rng.integers(env.action_space.n, size=1)))[2]:
            pass
        assert "episode" not in row[3][0]
        for action in [0] * 10 + ([2] if not starts and not fires else [0]):
            env.step(np.array([action]))
        different[fires] = len({env.step(np.array([0]))[0][0, -1].tobytes() for _ in range(10)})
    moves, waits = (True, False) if starts else (False, True)
    assert different[moves] > 4
    assert different[waits] <= 2
