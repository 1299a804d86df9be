import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from envs import Atari, Chain, Gym
from envs.interface import frames_stacked, game_interface, gym_interface, interface_of, obs_format, to_gymnasium
from tests.envs.own import Camera, Own, Paddle, Parts, of


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("CartPole-v1", {}),
        ("Pendulum-v1", {}),
        ("FrozenLake-v1", {"map_name": "8x8"}),
        ("FrozenLake-v1", {"env_kwargs": {"map_name": "8x8"}}),
        (Own, {"stack": 3}),
        (Paddle, {}),
        (Parts, {}),
        (Camera, {"stack": 4}),
        (Camera, {"grey": True, "resize": (40, 40), "stack": 4, "frame_skip": 2}),
    ],
)
def test_as_the_environments(source, options):
    interface, env = gym_interface(source, **options), Gym(source, 2, **options)
    names = ("obs_shape", "obs_dtype", "num_actions", "action_size", "stack")
    assert [getattr(interface, name) for name in names] == [getattr(env, name) for name in names]
    rows, single = interface.rows(env.reset(seed=0).obs)
    assert (len(rows), single, rows.dtype) == (2, False, env.obs_dtype)


def test_of_a_game_and_of_built_in_ones():
    game = game_interface(4)
    assert game[:5] == ((4, 84, 84), np.uint8, None, 0, 4)
    assert game.rows(np.zeros((4, 84, 84), np.uint8))[0].dtype == np.uint8
    with pytest.raises(ValueError, match=r"^observations must be uint8, got float64$"):
        game.rows(np.full((4, 84, 84), 0.7))
    assert Atari("Pong").obs_shape == game.obs_shape
    chain = interface_of(Chain(3, length=4))
    assert chain[:5] == ((4,), np.float32, 2, 0, 1)
    assert chain.actions(np.array([1, 0])).tolist() == [1, 0]


def test_nothing_is_left_open_and_one_is_made(monkeypatch):
    made, closed = [], []

    class Counted(Own):
        def __init__(self):
            made.append(self)

        def close(self):
            closed.append(self)

    gym_interface(Counted)
    assert made == closed
    assert len(made) == 1
    with pytest.raises(ValueError, match="resize is for images"):
        gym_interface(Counted, resize=(3, 3))
    assert made == closed


def test_one_that_cannot_be_closed_is_looked_at_all_the_same():
    class Stuck(Own):
        def close(self):
            raise RuntimeError("no window")

    with pytest.warns(UserWarning, match=r"failed in close\(\): RuntimeError: no window"):
        assert gym_interface(Stuck).obs_shape == (3,)


def test_actions_of_the_environment():
    discrete = gym_interface(of(Own.observation_space, spaces.Discrete(3, start=-1))).actions
    assert discrete(np.array([0, 1, 2])).tolist() == [-1, 0, 1]
    assert discrete(2) == 1
    low, high = np.array([-1, 0], np.float32), np.array([1, np.inf], np.float32)
    continuous = gym_interface(of(Own.observation_space, spaces.Box(low, high))).actions
    np.testing.assert_array_equal(continuous(np.array([[2.0, -3.0]])), np.array([[1, 0]], np.float32), strict=True)
    assert continuous(np.array([0.5, 9.0])).tolist() == [0.5, 9.0]
    assert to_gymnasium(spaces.Discrete(2), np.array([1])).dtype == np.int64
    small = spaces.Discrete(3, start=-1)
    small.dtype = np.dtype(np.int32)  # an argument in later versions of Gymnasium
    assert to_gymnasium(small, np.array([1])).dtype == to_gymnasium(small, 2).dtype == np.int32


def test_formats():
    assert obs_format(spaces.Box(0, 255, (4, 8, 8), np.uint8)) == ((4, 8, 8), np.uint8)
    assert obs_format(spaces.Box(0, 255, (4,), np.uint8)) == ((4,), np.float32)
    image, vector = ((4, 8, 8), np.dtype(np.uint8)), ((4,), np.dtype(np.float32))
    assert (frames_stacked(*image, 4), frames_stacked(*image, 2), frames_stacked(*vector, 4)) == (4, 1, 1)


def test_what_is_wrong_with_a_registered_one_is_one_line_without_warnings(recwarn):
    class NoSeed(Own):
        def reset(self):
            return np.zeros(3)

    class NoSpace(gymnasium.Env):
        action_space = Own.action_space

    for kind, message in (
        (NoSeed, r"reset\(\) must take seed and options"),
        (NoSpace, "has no observation_space: set self.obs"),
    ):
        gymnasium.register("WnrlWrong-v0", kind)
        with pytest.raises(ValueError, match=f"^WnrlWrong-v0:? {message}"):
            gym_interface("WnrlWrong-v0")
        del gymnasium.registry["WnrlWrong-v0"]
    assert not recwarn.list
