import functools
import os
import signal

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from envs import EpisodeStatistics, Gym
from envs.stream import StateError
from tests.envs.own import Camera, Own

FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")


class Probe(gymnasium.Env):
    """Shows samples of any space, is paid the action, and ends after 3 steps as its action says."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012

    def __init__(self, space=None, actions=None, missing=False, paid=2.5, render_mode=None):
        if missing:
            raise gymnasium.error.DependencyNotInstalled("Probe needs\n  a thing")
        self.observation_space = space or spaces.Box(-1, 1, (2,), np.float64)
        self.action_space = actions or spaces.Discrete(3, start=-1)
        self.render_mode, self.paid = render_mode, paid

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        self.steps += 1
        self.action = action
        end, value = self.steps == 3, float(np.sum(action))
        return self.observation_space.sample(), self.paid * value, end and value == 1, end and value == 0, {}

    def render(self):
        if self.steps == 2:
            raise gymnasium.error.DependencyNotInstalled("no\nscreen")
        return np.full((4, 5, 3), self.steps, np.uint8)


@pytest.fixture(autouse=True)
def probe():
    gymnasium.register("WnrlProbe-v0", Probe, disable_env_checker=True)
    yield
    del gymnasium.registry["WnrlProbe-v0"]


def gym(num_envs=1, render_mode=None, **kwargs):
    return Gym("WnrlProbe-v0", num_envs, env_kwargs=kwargs, render_mode=render_mode)


def test_cartpole_as_gymnasium_plays_it():
    env, truth = Gym("CartPole-v1", 2), gymnasium.make("CartPole-v1")
    assert (env.num_actions, env.obs_shape, env.obs_dtype, env.stack, env.frame_skip) == (2, (4,), np.float32, 1, 1)
    step, over, ended = env.reset(seed=np.array([7, 8])), False, 0
    np.testing.assert_array_equal(step.obs[1], truth.reset(seed=8)[0])
    assert step.first.all()
    rng = np.random.default_rng(0)
    for _ in range(120):
        action = rng.integers(0, 2, 2)
        step = env.step(action)
        if over:
            obs, reward, terminated = truth.reset()[0], 0.0, False
        else:
            obs, reward, terminated, _, _ = truth.step(action[1])
        np.testing.assert_array_equal(step.obs[1], obs)
        assert (step.reward[1], step.discount[1]) == (reward, 1 - terminated)
        assert (step.first[1], step.last[1]) == (over, terminated)
        over, ended = terminated, ended + terminated
    assert ended >= 3
    env.close()


@pytest.mark.parametrize(
    ("id", "shape", "bound", "steps"), [("Pendulum-v1", (3,), 2, 420), ("MountainCarContinuous-v0", (2,), 1, 2010)]
)
def test_continuous_actions_as_gymnasium_plays_them(id, shape, bound, steps):
    """Gymnasium gets the clipped actions; both tasks clip them too, but the second is charged for what it is given."""
    env, truth = Gym(id, 2), gymnasium.make(id)
    assert (env.num_actions, env.action_size, env.obs_shape, env.obs_dtype) == (0, 1, shape, np.float32)
    np.testing.assert_array_equal(env.action_low, np.array([-bound], np.float32), strict=True)
    np.testing.assert_array_equal(env.action_high, np.array([bound], np.float32), strict=True)
    step, over, ended = env.reset(seed=np.array([7, 8])), False, 0
    np.testing.assert_array_equal(step.obs[1], truth.reset(seed=8)[0])
    rng = np.random.default_rng(0)
    for _ in range(steps):
        action = rng.normal(0, bound, (2, 1)).astype(np.float32)
        step = env.step(action)
        if over:
            obs, reward, terminated, truncated = truth.reset()[0], 0.0, False, False
        else:
            obs, reward, terminated, truncated, _ = truth.step(np.clip(action[1], -bound, bound))
        np.testing.assert_array_equal(step.obs[1], obs)
        assert (step.reward[1], step.discount[1]) == (reward, 1 - terminated)
        over = terminated or truncated
        assert step.last[1] == over
        ended += over
    assert ended >= 2
    env.close()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_continuous_actions_reach_gymnasium_within_the_space(dtype):
    low, high = np.array([-0.1, -np.inf, 0], dtype), np.array([0.1, np.inf, np.inf], dtype)
    space = spaces.Box(low, high, dtype=dtype)
    env = gym(2, actions=space)
    assert (env.num_actions, env.action_size) == (0, 3)
    np.testing.assert_array_equal(env.action_low, np.array([-0.1, -np.inf, 0], np.float32), strict=True)
    np.testing.assert_array_equal(env.action_high, np.array([0.1, np.inf, np.inf], np.float32), strict=True)
    env.reset()
    step = env.step(np.array([[-7, -7, -7], [7, 7, 7]], np.float32))
    np.testing.assert_allclose(step.reward, [2.5 * -7.1, 2.5 * 14.1], rtol=1e-6)
    for inner in env._env.envs:
        assert space.contains(inner.unwrapped.action)


def test_wrong_continuous_actions_are_told_and_change_nothing():
    env = gym(2, actions=spaces.Box(-1, 1, (3,), np.float32))
    env.reset()
    env.step(np.zeros((2, 3)))
    for wrong in (np.zeros((2, 3), np.int64), np.zeros((2, 2)), np.zeros(2), np.zeros((1, 3))):
        with pytest.raises(ValueError, match=r"^action must be \[2, 3\] float, got \["):
            env.step(wrong)
    with pytest.raises(ValueError, match=r"^action must be finite float32, got \[\[0\.0, nan, 0\.0\], "):
        env.step(np.array([[0, np.nan, 0], [0, 0, 0]]))
    assert env._env.envs[0].unwrapped.steps == 1


def test_termination_and_truncation_differ_in_the_discount_only():
    env = gym(2)
    env.reset(seed=0)
    rows = [env.step(np.array([2, 1])) for _ in range(5)]  # actions 1 and 0, as the start is -1
    assert [r.last.tolist() for r in rows] == [[False] * 2] * 2 + [[True] * 2] + [[False] * 2] * 2
    assert [r.first.tolist() for r in rows] == [[False] * 2] * 3 + [[True] * 2] + [[False] * 2]
    assert [r.discount.tolist() for r in rows] == [[1, 1], [1, 1], [0, 1], [1, 1], [1, 1]]
    assert [r.reward.tolist() for r in rows] == [[2.5, 0], [2.5, 0], [2.5, 0], [0, 0], [2.5, 0]]


def test_scores_are_sums_of_the_rewards_as_they_are():
    """float32 has 24 bits: 123456789 is 3 less than its nearest number there."""
    env, statistics, games = gym(2, paid=123_456_789), EpisodeStatistics(2), []
    statistics.update(env.reset())
    while not games:
        row = env.step(np.array([2, 2]))
        games = statistics.update(row)
    assert row.reward.dtype == np.float64
    assert [game.score for game in games] == [3 * 123_456_789] * 2


def test_actions_start_where_the_space_does():
    env = gym(3)
    assert env.num_actions == 3
    env.reset()
    assert env.step(np.array([0, 1, 2])).reward.tolist() == [-2.5, 0, 2.5]
    with pytest.raises(ValueError, match=r"action must be in 0 … 2, got \[-1, 0, 0\]"):
        env.step(np.array([-1, 0, 0]))


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (spaces.Box(-1, 1, (2,), np.float64), (2,)),
        (spaces.Box(-1, 1, (2, 3), np.float32), (6,)),
        (spaces.Box(0, 255, (4,), np.uint8), (4,)),
        (spaces.Discrete(5), (5,)),
        (spaces.MultiDiscrete([2, 3]), (5,)),
        (spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 1, (3,))]), (5,)),
        (spaces.Dict(a=spaces.MultiBinary(3), b=spaces.Discrete(2)), (5,)),
    ],
)
def test_observations_become_float32_vectors(space, shape):
    env = gym(2, space=space)
    assert (env.obs_shape, env.obs_dtype) == (shape, np.float32)
    space.seed(0)
    step = env.reset(seed=0)
    assert (step.obs.shape, step.obs.dtype) == ((2, *shape), np.float32)
    assert env.step(np.array([1, 1])).obs.dtype == np.float32


def test_discrete_observations_are_one_hot():
    obs = Gym("FrozenLake-v1").reset(seed=0).obs
    np.testing.assert_array_equal(obs, np.eye(16, dtype=np.float32)[:1], strict=True)


@pytest.mark.parametrize(("shape", "turn"), [((8, 9, 3), (2, 0, 1)), ((4, 8, 9), (0, 1, 2))])
def test_pictures_stay_uint8_with_channels_first(shape, turn):
    space = spaces.Box(0, 255, shape, np.uint8)
    env = gym(space=space)
    assert (env.obs_shape, env.obs_dtype, env.stack) == ((shape[turn[0]], 8, 9), np.uint8, 1)
    obs = env.reset(seed=np.array([4])).obs
    space.seed(4)
    np.testing.assert_array_equal(obs[0], space.sample().transpose(turn), strict=True)


def test_a_time_step_is_not_overwritten_by_later_ones():
    env = gym(2)
    env.reset(seed=0)
    held = [env.step(np.array([2, 1])) for _ in range(3)]
    copies = [[field.copy() for field in step] for step in held]
    for _ in range(3):
        env.step(np.array([2, 1]))
    for step, copy in zip(held, copies, strict=True):
        for field, other in zip(step, copy, strict=True):
            np.testing.assert_array_equal(field, other)
    assert (held[0].obs != held[1].obs).any()


def test_render():
    env = gym(2, render_mode="rgb_array")
    env.reset()
    env.step(np.array([0, 0]))
    np.testing.assert_array_equal(env.render(), np.full((4, 5, 3), 1, np.uint8))
    env.step(np.array([0, 0]))
    with pytest.raises(RuntimeError, match=r"^no screen$"):
        env.render()
    with pytest.raises(RuntimeError, match='render_mode="rgb_array"'):
        gym().render()


@pytest.mark.parametrize(
    "actions",
    [
        spaces.MultiDiscrete([2, 2]),
        spaces.MultiBinary(3),
        spaces.Box(-2, 2, (2, 2), np.float32),
        spaces.Box(-2, 2, (), np.float32),
        spaces.Box(-2, 2, (0,), np.float32),
        spaces.Box(0, 9, (3,), np.int64),
        spaces.Tuple([spaces.Discrete(2), spaces.Box(np.zeros(40, np.float32), np.ones(40, np.float32))]),
    ],
)
def test_other_action_spaces_are_refused(actions):
    message = "the action space must be Discrete or a float Box of one dimension, got "
    with pytest.raises(ValueError, match="^" + message) as error:
        gym(actions=actions)
    assert str(error.value) == message + " ".join(str(actions).split())


def test_observations_of_no_fixed_size_are_refused():
    with pytest.raises(ValueError, match=r"^observations must have a fixed size, got Sequence"):
        gym(space=spaces.Sequence(spaces.Discrete(2)))


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("CartPol-v1", r"^unknown environment 'CartPol-v1': did you mean CartPole-v1 or .*\?$"),
        ("CartPole-v99", r"^unknown environment 'CartPole-v99': did you mean CartPole-v1 or"),
        ("Zq", r"^unknown environment 'Zq': no registered id is like it; package:ID imports a package first$"),
        ("a b!", r"^cannot make a b!: Malformed environment ID"),
        ("nomodule:X-v0", r"^cannot make nomodule:X-v0: No module named 'nomodule'\..*$"),
        ("ALE/SpaceInvaders-v5", r"^ALE/SpaceInvaders-v5 is an Atari game: use --game SpaceInvaders "),
        ("PongNoFrameskip-v4", r"^PongNoFrameskip-v4 is an Atari game: use --game Pong "),
        ("ale_py:ALE/Pong-v5", r"^ale_py:ALE/Pong-v5 is an Atari game: use --game Pong "),
        ("PongDeterministic-v4", r"^PongDeterministic-v4 is an Atari game: use --game Pong "),
        ("Pong-ramNoFrameskip-v4", r"^Pong-ramNoFrameskip-v4 is an Atari game: use --game Pong "),
        ("ALE/Nothing", r"^ALE/Nothing is an Atari id: use --game NAME"),
    ],
)
def test_ids_that_cannot_be_made(id, message):
    with pytest.raises(ValueError, match=message) as error:
        Gym(id)
    assert "\n" not in str(error.value)


def test_a_missing_dependency_is_told_in_one_line():
    with pytest.raises(ValueError, match=r"^cannot make WnrlProbe-v0: Probe needs a thing$"):
        gym(missing=True)


def test_step_comes_after_reset():
    with pytest.raises(RuntimeError, match="reset"):
        gym().step(np.array([0]))


def test_the_number_of_environments_is_checked():
    with pytest.raises(ValueError, match="num_envs must be at least 1, got -1"):
        gym(-1)


@pytest.mark.parametrize("source", [Own, lambda: Own(), functools.partial(Own)])
def test_classes_and_functions(source):
    env = Gym(source, 2)
    assert (env.obs_shape, env.num_actions) == ((3,), 2)
    assert env._env.envs[0] is not env._env.envs[1]
    rows = [env.reset(seed=0), *(env.step(np.array([1, 0])) for _ in range(8))]
    assert [row.last.tolist() for row in rows[6:]] == [[False] * 2, [True] * 2, [False] * 2]
    assert rows[8].first.all()
    with pytest.raises(RuntimeError, match=r'^nothing to render: make the environment with render_mode="rgb_array"$'):
        env.render()


class Painted(Own):
    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 1}  # noqa: RUF012
    picture = None

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def render(self):
        if isinstance(self.picture, Exception):
            raise self.picture
        return self.picture


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (None, r"render\(\) must return a picture \[H, W, 3\], got None"),
        ("text", r"render\(\) must return a picture \[H, W, 3\], got str"),
        (np.zeros((4, 5)), r"render\(\) must return a picture \[H, W, 3\], got ndarray \[4, 5\]"),
        (np.ones((4, 5, 3)), "its picture must be uint8, got float64"),
        (NotImplementedError(), "NotImplementedError"),
        (ZeroDivisionError("by\n0"), r"ZeroDivisionError: by 0 \(test_gym.py, line \d+\)"),
    ],
)
def test_what_cannot_be_rendered(picture, message, monkeypatch):
    monkeypatch.setattr(Painted, "picture", picture)
    env = Gym(Painted, render_mode="rgb_array")
    env.reset()
    with pytest.raises(RuntimeError, match=f"^Painted cannot be rendered: {message}"):
        env.render()


@pytest.mark.parametrize(
    ("metadata", "fps"),
    [
        ({"render_fps": 50}, 50),
        ({}, 30),
        ({"render_fps": None}, 30),
        ({"render_fps": 0}, 30),
        ({"render_fps": "4"}, 30),
    ],
)
def test_the_pace_of_pictures_is_the_environments_own(metadata, fps, monkeypatch):
    monkeypatch.setattr(Own, "metadata", metadata)
    assert Gym(Own).render_fps == fps
    assert Gym(Own, frame_skip=5).render_fps == fps / 5


@pytest.mark.parametrize(
    ("names", "shown"), [(["LEFT", "RIGHT"], ["LEFT", "RIGHT"]), (["LEFT"], ()), (None, ()), (7, ())]
)
def test_actions_have_names_where_the_environment_gives_them(names, shown, monkeypatch):
    assert Gym(Own).action_meanings == ()
    monkeypatch.setattr(Own, "get_action_meanings", lambda self: names, raising=False)
    monkeypatch.setattr(Own, "action_space", spaces.Discrete(2))
    assert Gym(Own).action_meanings == shown


def test_without_a_render_mode_there_is_nothing_to_render():
    env = Gym(Own, render_mode="rgb_array")
    env.reset()
    with pytest.raises(RuntimeError, match=r'^Own cannot be rendered: it takes no render_mode "rgb_array"$'):
        env.render()


def test_an_environment_is_no_class():
    with pytest.raises(ValueError, match=r"^Own is an environment, which all would share: pass its class, or a"):
        Gym(Own())


def test_options_under_names_of_ours_reach_the_environment():
    class Skipping(Own):
        def __init__(self, frame_skip, size):
            self.got = frame_skip, size

    env = Gym(Skipping, frame_skip=2, env_kwargs={"frame_skip": 5}, size=3)
    assert env._env.envs[0].unwrapped.got == (5, 3)
    assert env.frame_skip == 2


def test_frames_are_skipped_within_an_episode():
    env = Gym(Own, frame_skip=3)  # episodes of 7
    rows = [env.reset(seed=0), *(env.step(np.array([1])) for _ in range(4))]
    assert [row.reward[0] for row in rows] == [0, 3, 3, 1, 0]
    assert [row.last[0] for row in rows] == [False, False, False, True, False]


def test_stacks_are_those_of_a_replay_buffer():
    env, alone = Gym(Camera, 2, grey=True, stack=3), Gym(Camera, 2, grey=True)
    assert (env.obs_shape, env.stack, env.obs_dtype) == ((3, 64, 64), 3, np.uint8)
    assert Gym(Camera, stack=3).stack == 1  # nine colours of three frames
    stacked, frames = env.reset(seed=0), [alone.reset(seed=0)]
    assert (stacked.obs[:, :2] == 0).all()
    for _ in range(6):
        stacked = env.step(np.array([0, 1]))
        frames.append(alone.step(np.array([0, 1])))
        if stacked.first.any():
            frames = frames[-1:]
        seen = [np.zeros_like(frames[0].obs)] * 3 + [frame.obs for frame in frames]
        np.testing.assert_array_equal(stacked.obs, np.concatenate(seen[-3:], axis=1), strict=True)


@FORKS
@pytest.mark.parametrize("source", [Camera, Own, "Pendulum-v1"])
def test_processes_play_as_one_process_does(source):
    one, many = Gym(source, 3), Gym(source, 3, vectorization="async")
    rng, processes = np.random.default_rng(0), list(many._env.processes)
    rows = [(one.reset(seed=1), many.reset(seed=1))]
    with pytest.raises(RuntimeError, match="reset"):
        Gym(source, vectorization="sync").step(np.array([0]) if one.num_actions else np.zeros((1, 1)))
    for _ in range(30):
        action = rng.integers(0, 2, 3) if one.num_actions else rng.normal(size=(3, 1))
        many.send(action)
        rows.append((one.step(action), many.recv()))
    for row, other in [*rows, (one.step(action), many.step(action))]:
        for field, twin in zip(row, other, strict=True):
            np.testing.assert_array_equal(field, twin, strict=True)
    many.close()
    assert not any(process.is_alive() for process in processes)


@FORKS
def test_a_ctrl_c_is_for_the_run_and_not_for_its_processes():
    env = Gym(Own, 2, vectorization="async")
    env.reset(seed=0)
    for process in env._env.processes:
        os.kill(process.pid, signal.SIGINT)
    assert env.step(np.array([1, 1])).reward.tolist() == [1, 1]
    env.close()


@FORKS
def test_pictures_come_from_processes_too(monkeypatch):
    monkeypatch.setattr(Painted, "picture", np.full((4, 5, 3), 7, np.uint8))
    env = Gym(Painted, 2, vectorization="async", render_mode="rgb_array")
    env.reset()
    np.testing.assert_array_equal(env.render(), Painted.picture, strict=True)
    env.close()


def test_vectorizations_are_two():
    with pytest.raises(ValueError, match=r"^vectorization must be sync or async, got 'threads'$"):
        Gym(Own, vectorization="threads")


class Dying(gymnasium.Env):
    """Its process ends without a word at the third step, as when memory is short."""

    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, pid):
        self.parent, self.made = pid, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.made += 1
        if self.made == 3 and os.getpid() != self.parent:
            os._exit(3)
        return np.zeros(1, np.float32), 0.0, False, False, {}


def test_a_process_that_dies_is_reported_and_the_others_are_closed():
    environment = Gym(Dying, 2, vectorization="async", env_kwargs={"pid": os.getpid()})
    environment.reset(seed=0)
    for _ in range(2):
        environment.send(np.zeros(2, int))
        environment.recv()
    with pytest.raises(RuntimeError, match=r"^environment [01] is gone: its process ended with exit code 3$"):
        environment.step(np.zeros(2, int))
    processes = list(environment._env.processes)
    environment.close()
    for process in processes:
        process.join(10)
    assert not any(process.is_alive() for process in processes)


def test_the_state_is_a_few_arrays():
    environment = Gym("CartPole-v1", 3)
    with pytest.raises(StateError, match="no state before the first reset"):
        environment.get_state()
    environment.reset(seed=0)
    state = environment.get_state()
    assert {name: array.dtype for name, array in state.items()} == {"last": bool, "tree": np.uint8, "data": np.uint8}
    assert sum(array.nbytes for array in state.values()) < 6000


@pytest.mark.parametrize(
    "change", [{"last": np.zeros(2, np.bool_)}, {"last": np.zeros(3)}, {"last": None}, {"tree": 0}]
)
def test_a_state_that_does_not_fit_is_refused_and_a_reset_begins_again(change):
    environment = Gym("CartPole-v1", 3)
    environment.reset(seed=0)
    with pytest.raises(StateError, match=r"^(it is not of 3 environments|tree must be .*)$"):
        environment.set_state(environment.get_state() | change)
    np.testing.assert_array_equal(environment.reset(seed=5).obs, Gym("CartPole-v1", 3).reset(seed=5).obs)


@FORKS
def test_processes_have_no_state():
    environment = Gym("CartPole-v1", 2, vectorization="async")
    assert not environment.resumable
    environment.close()


def test_actions_have_the_dtype_of_their_space():
    actions = spaces.Discrete(3, start=-1)
    actions.dtype = np.dtype(np.int32)  # an argument in later versions of Gymnasium
    env = gym(2, actions=actions)
    env.reset()
    env.step(np.array([0, 2]))
    assert [one.unwrapped.action.dtype for one in env._env.envs] == [np.int32] * 2


def test_what_was_made_before_an_error_is_closed():
    made, closed = [], []

    class Third(Own):
        def __init__(self, fails=3, space=Own.observation_space):
            if len(made) + 1 == fails:
                raise OSError("port in use")
            self.observation_space = space
            made.append(self)

        def close(self):
            closed.append(self)

    with pytest.raises(ValueError, match=r"^cannot make Third: OSError: port in use"):
        Gym(Third, 3)
    assert len(made) == len(closed) == 2
    with pytest.raises(ValueError, match=r"^observations must have a fixed size"):
        Gym(Third, env_kwargs={"fails": 0, "space": spaces.Sequence(spaces.Discrete(2))})
    assert len(made) == len(closed) == 3
