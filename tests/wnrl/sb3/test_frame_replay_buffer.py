import copy
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import ale_py
import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from sb3_contrib import QRDQN, TQC, CrossQ
from stable_baselines3 import DDPG, DQN, SAC, TD3
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.envs import BitFlippingEnv, FakeImageEnv
from stable_baselines3.common.torch_layers import NatureCNN
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
    VecEnvWrapper,
    VecFrameStack,
    VecNormalize,
    VecTransposeImage,
)
from stable_baselines3.her import HerReplayBuffer

from tests.products import mostly_slow
from wnrl.sb3.atari_vec_env import AtariVecEnv
from wnrl.sb3.frame_replay_buffer import FrameReplayBuffer

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
]
ACTIONS = spaces.Discrete(5)


class Stream:
    """Random transitions of stacked images, some frames black, some like the one before, in the host's order."""

    def __init__(
        self,
        num_envs: int = 2,
        stack: int = 4,
        colours: int = 1,
        size: int = 13,  # more than there are channels, by which the host knows the axis
        axis: int = 0,
        dtype: type = np.uint8,
        padding: str = "zeros",  # before an episode's first frame: zeros, repeats, frames
        terminal: bool = True,  # whether next_obs is the terminal observation where an episode ended
        after_end: str = "first",  # the stack then: of a first frame, the same, one frame further, all but one blanked
        channels_last_memory: bool = False,
        p_end: float = 0.2,
        seed: int = 0,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.num_envs, self.stack, self.axis, self.dtype = num_envs, stack, axis, dtype
        self.frame, self.padding, self.terminal, self.p_end = (colours, size, size + 1), padding, terminal, p_end
        self.channels_last_memory, self.after_end = channels_last_memory, after_end
        shape = (stack * colours, size, size + 1)
        shape = shape if axis == 0 else (*shape[1:], shape[0])
        self.space = spaces.Box(0, 255, shape, np.uint8) if dtype == np.uint8 else spaces.Box(-10, 10, shape, dtype)
        self.stacks = np.stack([self.first() for _ in range(num_envs)])  # [N, stack, colours, H, W]

    def new(self, before: np.ndarray) -> np.ndarray:
        kind = self.rng.random()
        frame = self.rng.integers(0, 256, self.frame).astype(self.dtype)
        return before if kind < 0.1 else 0 * frame if kind < 0.2 else frame

    def first(self) -> np.ndarray:
        frames = self.rng.integers(0, 256, (self.stack, *self.frame)).astype(self.dtype)
        if self.padding == "zeros":
            frames[:-1] = 0
        elif self.padding == "repeats":
            frames[:] = frames[-1]
        return frames

    def restarted(self, stack: np.ndarray) -> np.ndarray:
        """The stack after one that ended an episode, as at a lost life: in the emulator the game goes on."""
        if self.after_end == "first":
            return self.first()
        if self.after_end == "further":
            return np.concatenate((stack[1:], self.new(stack[-1])[None]))
        stack = stack.copy()
        stack[:-1] *= self.after_end == "same"
        return stack

    def seen(self, stacks: np.ndarray) -> np.ndarray:
        """Observations as an environment gives them."""
        obs = stacks.reshape(self.num_envs, -1, *self.frame[1:])
        if self.axis == 2 or self.channels_last_memory:
            obs = np.ascontiguousarray(np.moveaxis(obs, 1, 3))
        return np.moveaxis(obs, 3, 1) if self.axis == 0 and self.channels_last_memory else obs.copy()

    def next(self) -> tuple:
        before, new = self.stacks, np.stack([self.new(frames[-1]) for frames in self.stacks])
        after = np.concatenate((before[:, 1:], new[:, None]), axis=1)
        done, left = self.rng.random((2, self.num_envs)) < np.array([[self.p_end], [0.02]])
        cut = self.rng.random(self.num_envs) < 0.5
        infos = [{"TimeLimit.truncated": bool(t)} if d else {} for d, t in zip(done, cut, strict=True)]
        self.stacks, next_stacks = after.copy(), after.copy()
        for env in np.flatnonzero(done | left):  # left: an episode given up, as when learning begins again
            self.stacks[env] = self.restarted(after[env])
            if done[env] and not self.terminal:
                next_stacks[env] = self.stacks[env]
        action, reward = self.rng.integers(0, 5, self.num_envs), self.rng.normal(size=self.num_envs)
        return self.seen(before), self.seen(next_stacks), action, reward.astype(np.float32), done, infos


def make(kind: type[ReplayBuffer], stream: Stream, buffer_size: int = 30, **kwargs: Any) -> Any:
    if kind is FrameReplayBuffer and stream.stack != stream.space.shape[stream.axis]:
        kwargs["stack"] = stream.stack
    return kind(buffer_size, stream.space, ACTIONS, kwargs.pop("device", "cpu"), stream.num_envs, **kwargs)


def pair(stream: Stream, buffer_size: int = 30, n_steps: int = 1, **kwargs: Any) -> tuple[Any, Any]:
    """The host's buffer and ours."""
    more = {"n_steps": n_steps, "gamma": 0.9} if n_steps > 1 else {}
    ours = make(FrameReplayBuffer, stream, buffer_size, **more, **kwargs)
    return make(NStepReplayBuffer if n_steps > 1 else ReplayBuffer, stream, buffer_size, **more, **kwargs), ours


def fill(stream: Stream, rows: int, *buffers: Any) -> None:
    for _ in range(rows):
        row = stream.next()
        for buffer in buffers:
            buffer.add(*row)


def draw(buffer: Any, batch_size: int = 40, seed: int = 3, env: VecNormalize | None = None) -> ReplayBufferSamples:
    np.random.seed(seed)
    return buffer.sample(batch_size, env)


def assert_same(got: ReplayBufferSamples, expected: ReplayBufferSamples) -> None:
    for name, one, other in zip(ReplayBufferSamples._fields, got, expected, strict=True):
        if other is None:
            assert one is None
            continue
        assert one.dtype == other.dtype, name
        assert one.is_contiguous()
        assert torch.equal(one.cpu(), other.cpu()), name


def assert_holds_the_same(ours: Any, host: Any) -> None:
    rows = slice(0, host.size())
    assert (ours.pos, ours.full, ours.size()) == (host.pos, host.full, host.size())
    for name in ("observations", "next_observations", "actions", "rewards", "dones", "timeouts"):
        np.testing.assert_array_equal(getattr(ours, name)[rows], getattr(host, name)[rows], name)


@settings(max_examples=80, deadline=None)
@given(
    num_envs=st.integers(1, 3),
    stack=st.integers(1, 4),
    colours=st.sampled_from([1, 3]),
    axis=st.sampled_from([0, 2]),
    dtype=st.sampled_from([np.uint8, np.float32]),
    padding=st.sampled_from(["zeros", "repeats", "frames"]),
    terminal=st.booleans(),
    after_end=st.sampled_from(["first", "same", "further", "blanked"]),
    channels_last_memory=st.booleans(),
    p_end=st.sampled_from([0.02, 0.2, 0.7]),
    buffer_size=st.integers(1, 40),
    n_steps=st.sampled_from([1, 1, 2, 5]),
    handle_timeout_termination=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_holds_and_samples_what_the_hosts_buffer_does(
    buffer_size: int, n_steps: int, handle_timeout_termination: bool, seed: int, **kwargs: Any
) -> None:
    stream = Stream(seed=seed, **kwargs)
    host, ours = pair(stream, buffer_size, n_steps, handle_timeout_termination=handle_timeout_termination)
    for rows in (1, 3, 7, host.buffer_size, 2 * host.buffer_size):
        fill(stream, rows, host, ours)
        assert_holds_the_same(ours, host)
        assert_same(draw(ours, seed=seed % 99), draw(host, seed=seed % 99))


@pytest.mark.parametrize("device", DEVICES)
def test_samples_on_its_device_what_the_hosts_buffer_does(device: str) -> None:
    stream = Stream()
    host, ours = pair(stream, device=device)
    fill(stream, 50, host, ours)
    assert_same(draw(ours), draw(host))
    assert all(tensor is None or tensor.device.type == device for tensor in draw(ours))


def test_a_terminal_frame_is_kept_and_the_next_stack_begins_with_zeros() -> None:
    buffer = FrameReplayBuffer(10, spaces.Box(0, 255, (3, 4, 4), np.uint8), ACTIONS, "cpu")

    def image(*values: int) -> np.ndarray:
        return np.repeat(np.array(values, np.uint8), 16).reshape(1, 3, 4, 4)

    steps = [((0, 0, 1), (0, 1, 2), False), ((0, 1, 2), (1, 2, 3), True), ((0, 0, 4), (0, 4, 5), False)]
    for obs, next_obs, done in steps:
        buffer.add(image(*obs), image(*next_obs), np.zeros(1, int), np.zeros(1), np.array([done]), [{}])
    for t, (obs, next_obs, _) in enumerate(steps):
        assert torch.equal(buffer.observations[t], torch.from_numpy(image(*obs)))
        assert torch.equal(buffer.next_observations[t], torch.from_numpy(image(*next_obs)))
    assert len(buffer._frames._lent) == 2  # frames 1 and 4: no next_obs brought them


@pytest.mark.parametrize("norm_obs", [False, True])
def test_normalizes_as_the_host_does(norm_obs: bool) -> None:
    stream = Stream()
    host, ours = pair(stream, n_steps=3)
    fill(stream, 50, host, ours)
    venv = DummyVecEnv([lambda: FakeImageEnv(screen_height=13, screen_width=13, n_channels=4, channel_first=True)])
    env = VecNormalize(venv, norm_obs=norm_obs)
    if norm_obs:
        env.obs_rms.mean, env.obs_rms.var = np.full((4, 13, 14), 99.0), np.full((4, 13, 14), 7.0)
    env.ret_rms.var = np.float64(5.0)
    assert_same(draw(ours, env=env), draw(host, env=env))
    assert not torch.equal(draw(ours, env=env).rewards, draw(ours).rewards)
    assert draw(ours, env=env).observations.dtype == (torch.float32 if norm_obs else torch.uint8)


class Screen(FakeImageEnv):
    """Random screens whose brightness is rewarded; some end the episode, the tenth at the latest."""

    def __init__(self, seed: int, **kwargs: Any) -> None:
        super().__init__(screen_height=40, screen_width=40, **kwargs)
        self.observation_space.seed(seed)

    def step(self, action: Any) -> Any:
        obs, _, _, truncated, info = super().step(action)
        return obs, float(obs.mean()) / 255, bool(obs.flat[0] < 20), truncated, info


def screens(num_envs: int = 1, **kwargs: Any) -> VecEnv:
    return VecFrameStack(DummyVecEnv([lambda i=i: Screen(i, **kwargs) for i in range(num_envs)]), 4)


class LosesLives(VecEnvWrapper):
    """Says `done` at every lost life, here where a screen begins bright, while the stack of frames goes on."""

    ends = 0

    def reset(self) -> np.ndarray:
        return self.venv.reset()

    def step_wait(self) -> Any:
        obs, rewards, dones, infos = self.venv.step_wait()
        for env in np.flatnonzero(~dones & (obs[:, 0, 0, -1] > 200)):
            dones[env], infos[env]["terminal_observation"] = True, obs[env].copy()
            LosesLives.ends += 1
        return obs, rewards, dones, infos


def model(kind: Any, env: VecEnv, host: bool, *, stack: int | None = None, **kwargs: Any) -> Any:
    """A small model, with the host's buffer or ours."""
    extractor = {"features_dim": 16, "normalized_image": True}
    policy = {
        "features_extractor_class": NatureCNN,
        "net_arch": [8],
        "features_extractor_kwargs": extractor,
        "normalize_images": env.observation_space.high.max() > 99,
    }
    common = {"buffer_size": 130, "batch_size": 8, "learning_starts": 20, "train_freq": 4, "seed": 0, "device": "cpu"}
    buffer = {} if stack is None else {"stack": stack}
    if not host:
        n_steps = kwargs.pop("n_steps", 1)
        buffer |= {"n_steps": n_steps, "gamma": 0.99} if n_steps > 1 else {}
        kwargs |= {"replay_buffer_class": FrameReplayBuffer, "replay_buffer_kwargs": buffer}
    return kind("MlpPolicy" if kind is CrossQ else "CnnPolicy", env, policy_kwargs=policy, **(common | kwargs))


def assert_learns_the_same(kind: Any, steps: int, make_env: Any, **kwargs: Any) -> None:
    learned = []
    for host in (True, False):
        learner = model(kind, make_env(), host, **kwargs)  # seeds all that is drawn until the next is made
        before = copy.deepcopy(learner.policy.state_dict())
        learner.learn(steps)
        learner.learn(20)  # begins new episodes while others go on
        learned.append(learner)
    host_policy, policy = (learner.policy.state_dict() for learner in learned)
    assert (learned[1].replay_buffer.full, learned[0].replay_buffer.size()) == (True, learned[1].replay_buffer.size())
    assert type(learned[0].replay_buffer) in (ReplayBuffer, NStepReplayBuffer)
    assert all(torch.equal(policy[name], host_policy[name]) for name in policy)
    assert not all(torch.equal(policy[name], before[name]) for name in policy)


@pytest.mark.parametrize(("num_envs", "n_steps"), [(1, 1), (3, 1), (1, 3)])
def test_dqn_learns_the_same_parameters_bit_for_bit(num_envs: int, n_steps: int) -> None:
    assert_learns_the_same(DQN, 200, lambda: screens(num_envs), n_steps=n_steps, target_update_interval=50)


def test_dqn_learns_the_same_from_colours() -> None:
    assert_learns_the_same(DQN, 200, lambda: screens(n_channels=3), stack=4)


def test_dqn_learns_the_same_from_normalized_screens() -> None:
    assert_learns_the_same(DQN, 200, lambda: VecNormalize(VecTransposeImage(screens())))


@pytest.mark.parametrize("kind", mostly_slow([QRDQN, SAC, TD3, DDPG, TQC, CrossQ], QRDQN, TD3))
def test_every_algorithm_learns_the_same_parameters_bit_for_bit(kind: Any) -> None:
    assert_learns_the_same(kind, 140, lambda: screens(discrete=kind is QRDQN))


def test_dqn_learns_the_same_where_a_lost_life_ends_an_episode_and_the_stack_goes_on() -> None:
    before = LosesLives.ends
    assert_learns_the_same(DQN, 200, lambda: LosesLives(screens(2)))
    assert LosesLives.ends > before + 20


def atari_wrappers() -> VecEnv:
    gym.register_envs(ale_py)
    return VecFrameStack(make_atari_env("BreakoutNoFrameskip-v4", 2, seed=0), 4)


@pytest.mark.parametrize("make_env", [atari_wrappers, lambda: AtariVecEnv("Breakout", 2, seed=0)])
def test_dqn_learns_the_same_from_atari(make_env: Any) -> None:
    env = make_env()
    learner = model(DQN, env, host=False)
    host = ReplayBuffer(130, learner.observation_space, learner.action_space, "cpu", 2)
    ours, lost = learner.replay_buffer, 0
    add = type(ours).add

    def add_to_both(obs: Any, next_obs: Any, action: Any, reward: Any, done: Any, infos: Any) -> None:
        nonlocal lost
        add(ours, obs, next_obs, action, reward, done, infos)
        host.add(obs, next_obs, action, reward, done, infos)
        lost += sum(bool(ended) and info["lives"] > 0 for ended, info in zip(done, infos, strict=True))

    ours.add = add_to_both
    for _ in range(4):
        learner.learn(60, reset_num_timesteps=False)
        assert_holds_the_same(ours, host)
        assert_same(draw(ours), draw(host))
    env.close()
    assert host.full
    assert lost > 1


def test_a_saved_buffer_goes_on_in_another_model(tmp_path: Path) -> None:
    first, second = (model(DQN, screens(), host=False) for _ in range(2))
    first.learn(60)
    first.save_replay_buffer(tmp_path / "buffer")
    second.load_replay_buffer(tmp_path / "buffer")
    assert_same(draw(second.replay_buffer), draw(first.replay_buffer))
    second.learn(60)
    assert second.replay_buffer.pos == 120


@pytest.mark.parametrize("rows", [0, 4, 100])
def test_a_pickled_buffer_continues_as_it_would_have(rows: int) -> None:
    stream = Stream()
    host, ours = pair(stream)
    fill(stream, rows, host, ours)
    ours = pickle.loads(pickle.dumps(ours))
    fill(stream, 11, host, ours)
    assert_holds_the_same(ours, host)
    assert_same(draw(ours), draw(host))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_loaded_buffer_moves_to_the_models_device() -> None:
    stream = Stream()
    host, ours = pair(stream, device="cuda")
    fill(stream, 20, host, ours)
    ours = pickle.loads(pickle.dumps(ours))
    assert ours._frames._ring.device.type == "cpu"  # readable without a GPU
    assert_same(draw(ours), draw(host))
    assert ours._frames._ring.device.type == "cuda"


def test_only_what_is_filled_is_saved() -> None:
    stream = Stream(size=40)
    buffer = make(FrameReplayBuffer, stream, 2_000)
    fill(stream, 10, buffer)
    assert len(pickle.dumps(buffer)) < buffer.nbytes / 10


def test_a_reset_buffer_is_a_new_one() -> None:
    stream = Stream()
    host, ours = pair(stream)
    fill(stream, 20, ours)
    ours.reset()
    assert ours.size() == 0
    fill(stream, 9, host, ours)
    assert_holds_the_same(ours, host)


def test_takes_a_seventh_of_the_hosts_memory_or_less() -> None:
    stream = Stream(num_envs=1, size=84, p_end=0.01)
    host, ours = pair(stream, 400)
    fill(stream, 450, host, ours)
    assert len(pickle.dumps(ours)) <= len(pickle.dumps(host)) / 7
    of_host = [host.observations, host.next_observations, host.actions, host.rewards, host.dones, host.timeouts]
    assert ours.nbytes <= sum(array.nbytes for array in of_host) / 7


def test_a_step_costs_one_frame_and_52_bytes() -> None:
    space = spaces.Box(0, 255, (4, 84, 84), np.uint8)
    small, large = (FrameReplayBuffer(steps, space, ACTIONS, "cpu", 4).nbytes for steps in (400, 1400))
    assert large - small == 1000 * (7056 + 52)


def test_the_hosts_arrays_are_never_made() -> None:
    tracemalloc.start()
    try:
        FrameReplayBuffer(10_000, spaces.Box(0, 255, (4, 84, 84), np.uint8), ACTIONS, "cpu")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10_000 * 100  # frames are PyTorch's


def test_places_of_frames_long_gone_are_used_again() -> None:
    stream = Stream(padding="frames", p_end=0.3)
    buffer = make(FrameReplayBuffer, stream, 40)
    fill(stream, 200, buffer)
    after_200 = buffer.nbytes
    fill(stream, 800, buffer)
    assert buffer.nbytes < 1.5 * after_200


def test_transitions_that_continue_none_are_refused_before_they_fill_the_memory() -> None:
    buffer = make(FrameReplayBuffer, Stream(), 1_000)
    rows = [Stream(padding="frames", seed=seed).next() for seed in range(100)]
    with pytest.raises(ValueError, match=r"\d+ frames start new stacks in \d+ rows: use stable-baselines3's"):
        buffer.extend(*zip(*rows, strict=True))


def altered(row: tuple, kind: str, rng: np.random.Generator) -> tuple:
    obs, next_obs, *rest = row
    if kind == "newest first":
        return obs[:, ::-1], next_obs[:, ::-1], *rest
    if kind == "not stacked":
        return rng.integers(0, 256, obs.shape, np.uint8), rng.integers(0, 256, obs.shape, np.uint8), *rest
    return obs, obs, *rest  # not shifted


@pytest.mark.parametrize("kind", ["newest first", "not stacked", "not shifted"])
@pytest.mark.parametrize("rows", [0, 50])
def test_other_stacks_are_refused_and_leave_no_trace(kind: str, rows: int) -> None:
    stream = Stream(p_end=0)
    host, ours = pair(stream)
    fill(stream, rows, host, ours)
    state = stream.stacks
    with pytest.raises(ValueError, match=r"of environment 0 are no stacks of 4 frames on axis 0, newest last: use"):
        ours.add(*altered(stream.next(), kind, stream.rng))
    stream.stacks = state
    fill(stream, 3, host, ours)
    assert_holds_the_same(ours, host)


def test_a_wrong_shape_is_refused() -> None:
    stream = Stream()
    obs, *rest = stream.next()
    with pytest.raises(ValueError, match=r"must be \[2, 4, 13, 14\], got \[2, 14, 13, 4\]"):
        make(FrameReplayBuffer, stream).add(obs.transpose(0, 3, 2, 1), *rest)


IMAGE = spaces.Box(0, 255, (4, 12, 12), np.uint8)


@pytest.mark.parametrize(
    ("space", "kwargs", "message"),
    [
        (spaces.Dict({"image": IMAGE}), {}, r"images \[C, H, W\], got Dict.*use stable-baselines3's DictReplayBuffer"),
        (spaces.Box(-1, 1, (3,)), {}, r"got Box.*use stable-baselines3's ReplayBuffer"),
        (spaces.Discrete(3), {}, r"got Discrete\(3\).*use stable-baselines3's ReplayBuffer"),
        (IMAGE, {"stack": 3}, r"stack must divide the channels of \(4, 12, 12\), on axis 0, got 3"),
        (IMAGE, {"stack": 0}, "got 0"),
        (
            IMAGE,
            {"optimize_memory_usage": True, "handle_timeout_termination": False},
            "leave optimize_memory_usage=False",
        ),
    ],
)
def test_what_it_cannot_hold_is_refused(space: spaces.Space, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrameReplayBuffer(10, space, ACTIONS, "cpu", **kwargs)


def test_too_large_a_buffer_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wnrl.sb3.frame_replay_buffer.free_memory", lambda device: 1e9)
    space = spaces.Box(0, 255, (4, 84, 84), np.uint8)
    with pytest.warns(UserWarning, match=r"buffer_size needs 1\.4 GB, cpu has 1\.0 GB free"):
        FrameReplayBuffer(200_000, space, ACTIONS, "cpu")


def goals(**keywords: Any) -> BitFlippingEnv:
    return BitFlippingEnv(4, **keywords)


HER = r"FrameReplayBuffer holds images without goals, use stable-baselines3's HerReplayBuffer for HER"


def test_goals_are_refused_and_hindsight_replay_named() -> None:
    with pytest.raises(ValueError, match=f"^{HER}, got Dict.*desired_goal"):
        DQN("MultiInputPolicy", goals(), replay_buffer_class=FrameReplayBuffer)
    with pytest.raises(ValueError, match=f"^{HER}"):
        SAC("MultiInputPolicy", goals(continuous=True), replay_buffer_class=FrameReplayBuffer)


@pytest.mark.parametrize(
    "of_her", [{"n_sampled_goal": 4}, {"goal_selection_strategy": "future"}, {"copy_info_dict": True}, {"env": None}]
)
@pytest.mark.parametrize("env", [goals, screens])
def test_arguments_of_hindsight_replay_are_refused(of_her: dict[str, Any], env: Any) -> None:
    policy = "CnnPolicy" if env is screens else "MultiInputPolicy"
    with pytest.raises(TypeError, match=f"^FrameReplayBuffer takes no {next(iter(of_her))}: {HER}$"):
        DQN(policy, env(), replay_buffer_class=FrameReplayBuffer, replay_buffer_kwargs=of_her)


def test_an_unknown_argument_is_named_alone() -> None:
    with pytest.raises(TypeError, match=r"^FrameReplayBuffer takes no goals, size$"):
        FrameReplayBuffer(10, IMAGE, ACTIONS, "cpu", goals=1, size=2)


@pytest.mark.parametrize("bases", [(FrameReplayBuffer, HerReplayBuffer), (HerReplayBuffer, FrameReplayBuffer)])
def test_a_buffer_of_both_kinds_is_refused(bases: tuple[type, type]) -> None:
    with pytest.raises(TypeError, match=f"^Both: {HER}$"):
        type("Both", bases, {})
