import time

import numpy as np
import pytest

from envs import Chain, EnvironmentFault, Groups, Gym, make
from envs.groups import grouped, groups_for, joined
from envs.seeds import environment_seeds
from envs.stream import first_rows
from tests.envs.faulty import Faulty, reset_all

fork = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")


def assert_same(rows, others):
    for row, other in zip(rows, others, strict=True):
        for field, truth in zip(row, other, strict=True):
            np.testing.assert_array_equal(field, truth, strict=True)


def in_turn(env, actions, seed):
    """The rows of a reset and of play in which each group gets its next actions as soon as its part is there."""
    rows = [env.reset(seed)]
    for index, part in enumerate(env.parts):
        env.send_to(index, actions[0][part])
    for action in [*actions[1:], None]:
        received = []
        for index, part in enumerate(env.parts):
            received.append(env.recv_from(index))
            if action is not None:
                env.send_to(index, action[part])
        rows.append(joined(received))
    return rows


def test_each_game_is_the_one_of_a_single_group():
    """Whether groups step together or in turn: environment i has the same seed."""
    options = {"game": "Breakout", "num_envs": 3, "max_frames": 120, "life_loss": True, "sticky_actions": 0.25}
    actions = np.random.default_rng(0).integers(4, size=(70, 3))
    one, two = make(**options), make(**options, groups=2)
    truth = [one.reset(3), *map(one.step, actions)]
    assert sum(row.last.sum() for row in truth) >= 3
    assert_same([two.reset(3), *map(two.step, actions)], truth)
    assert_same(in_turn(two, actions, 3), truth)
    assert not np.array_equal(two.reset(4).obs, truth[0].obs)


@pytest.mark.parametrize("seed", [0, np.arange(4)])
def test_a_seed_of_the_first_reset_is_of_all_groups(seed, monkeypatch):
    class Game(Chain):
        def __init__(self, game, num_envs, *, num_threads):
            super().__init__(num_envs)

        def reset(self, seed=None):
            self.given = seed
            return super().reset(seed)

    monkeypatch.setattr("envs.Atari", Game)
    env = make(game="Breakout", num_envs=4, groups=2, seed=seed)
    env.reset()
    given = np.concatenate([group.given for group in env.environments])
    np.testing.assert_array_equal(given, environment_seeds(seed, 4))
    env.reset()
    assert [group.given for group in env.environments] == [None, None]


def test_a_group_plays_on_while_another_waits():
    env = Groups([Chain(1, length=4), Chain(2, length=4)])
    env.reset(0)
    env.send_to(1, np.array([1, 0]))
    assert env.recv_from(1).obs.argmax(1).tolist() == [1, 0]
    env.send_to(1, np.array([1, 1]))
    assert env.recv_from(1).obs.argmax(1).tolist() == [2, 1]
    env.send_to(0, np.array([1]))
    assert env.recv_from(0).obs.argmax(1).tolist() == [1]


def test_it_is_like_the_environments_in_it():
    env = Groups([Gym("Pendulum-v1", 2), Gym("Pendulum-v1", 1)])
    assert (env.num_envs, env.num_actions, env.action_size, env.obs_shape) == (3, 0, 1, (3,))
    assert (env.action_low.tolist(), env.action_high.tolist(), env.obs_dtype) == ([-2], [2], np.float32)
    assert (env.stack, env.frame_skip, env.resumable, env.parts) == (1, 1, False, [slice(0, 2), slice(2, 3)])
    assert (env.render_fps, env.action_meanings) == (30, ())
    truth = Gym("Pendulum-v1", 3)
    action = np.array([[1], [-9], [0.5]], np.float32)
    assert_same([env.reset(7), env.step(action)], [truth.reset(7), truth.step(action)])


def test_a_wrong_action_is_refused_before_any_group_steps():
    env = Groups([Chain(1, length=4), Chain(2, length=4)])
    env.reset(0)
    for action in ([1, 0, 2], [1, 0], [1.0, 0.0, 1.0]):
        with pytest.raises(ValueError, match="action must be"):
            env.send(np.array(action))
    assert env.step(np.array([1, 0, 1])).obs.argmax(1).tolist() == [1, 0, 1]


@pytest.mark.parametrize(("groups", "sizes"), [(1, [7]), (2, [4, 3]), (4, [2, 2, 2, 1]), (7, [1] * 7)])
def test_sizes_differ_by_one_at_most(groups, sizes):
    made = grouped(Chain, 7, groups)
    assert [environment.num_envs for environment in made.environments] == sizes
    assert made.num_envs == 7
    assert np.concatenate([np.arange(7)[part] for part in made.parts]).tolist() == list(range(7))


@pytest.mark.parametrize("groups", [0, -1, 8])
def test_no_more_groups_than_environments(groups):
    with pytest.raises(ValueError, match=rf"^groups must be from 1 to 7, the number of environments, got {groups}$"):
        make(game="Pong", num_envs=7, groups=groups)


def test_what_steps_one_after_the_other_has_no_groups():
    with pytest.raises(ValueError, match=r'^groups 2 need environments that step in the background: vectorization="as'):
        make(env="CartPole-v1", num_envs=4, groups=2)
    with pytest.raises(ValueError, match=r"^Chain has no option vectorization: leave it out$"):
        make(env="Chain", num_envs=4, groups=2, vectorization="async")


@pytest.mark.parametrize(
    ("options", "threads"),
    [({}, [2, 2, 2]), ({"num_threads": 4}, [1, 1, 1]), ({"num_threads": 12}, [4, 4, 4]), ({"num_threads": 0}, [2] * 3)],
)
def test_the_threads_are_divided(options, threads, monkeypatch):
    made = []

    def game(name, num_envs, *, num_threads, **others):
        made.append(num_threads)
        return Chain(num_envs, **others)

    monkeypatch.setattr("envs.Atari", game)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(6)), raising=False)
    assert make(game="Pong", num_envs=7, groups=3, length=4, **options).obs_shape == (4,)
    assert made == threads


def test_what_was_made_is_closed_where_another_group_cannot_be():
    closed = []

    def one(number):
        if number == 2:
            raise ValueError("no more")
        environment = Chain(number)
        environment.close = lambda: closed.append(number)
        return environment

    with pytest.raises(ValueError, match=r"^no more$"):
        grouped(one, 5, 2)
    assert closed == [3]


@fork
def test_a_fault_has_the_index_among_all():
    """The third environment of four is the first of its group."""
    env = make(env=Faulty, num_envs=4, groups=2, vectorization="async", env_kwargs={"fault": "error", "at": 2})
    reset_all(env)
    for index in (0, 1):
        env.send_to(index, np.zeros(2, int))
    env.recv_from(0)
    with pytest.raises(EnvironmentFault, match=r"^environment 2 failed: ZeroDivisionError: division by zero") as fault:
        env.recv_from(1)
    assert fault.value.index == 2
    env.close()


def test_a_fault_whose_index_is_not_known():
    class Broken(Chain):
        def recv(self):
            raise EnvironmentFault(None, "has closed its connection")

    env = Groups([Chain(2), Broken(2)])
    env.reset(0)
    with pytest.raises(EnvironmentFault, match=r"^an environment has closed its connection$"):
        env.step(np.zeros(4, int))


@fork
@pytest.mark.parametrize("options", [{"game": "Pong"}, {"env": "CartPole-v1", "vectorization": "async"}], ids=str)
def test_closing_in_the_middle_of_a_step(options):
    env = make(num_envs=4, groups=2, **options)
    env.reset(0)
    env.send(np.zeros(4, int))
    env.recv_from(0)
    began = time.monotonic()
    env.close()
    assert time.monotonic() - began < 5


def test_the_picture_is_that_of_environment_0():
    class Shown(Chain):
        def render(self):
            return np.full((2, 2, 3), self.num_envs)

    assert (Groups([Shown(3), Shown(2)]).render() == 3).all()


def test_rows_are_joined_in_the_order_of_the_groups():
    rows = [first_rows(np.full((number, 2), number, np.uint8)) for number in (2, 1)]
    whole = joined(rows)
    assert whole.obs[:, 0].tolist() == [2, 2, 1]
    assert [field.dtype for field in whole] == [field.dtype for field in rows[0]]


@pytest.mark.parametrize(
    ("num_envs", "cores", "groups"),
    [
        (8, 16, 1),
        (31, 64, 1),
        (64, 7, 1),
        (1_000, 2, 1),
        (32, 8, 2),
        (64, 8, 2),
        (63, 16, 2),
        (64, 15, 2),
        (64, 16, 4),
        (512, 96, 4),
    ],
)
def test_as_many_groups_as_are_fastest(num_envs, cores, groups):
    assert groups_for(num_envs, cores) == groups
