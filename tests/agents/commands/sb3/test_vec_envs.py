import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecTransposeImage

from agents.commands.sb3.vec_envs import describe_task, make_evaluation_envs, make_training_envs
from agents.settings.task import TaskSettings
from envs import Atari, EnvironmentFault
from tests.envs.faulty import Faulty

CARTPOLE = describe_task(TaskSettings(env="CartPole-v1"))


def game(name="Breakout", **options):
    return describe_task(TaskSettings(game=name, **options))


def played(environment, steps=60):
    """Observations of random actions, the same for the same number of actions."""
    rng, seen = np.random.default_rng(0), []
    seen.append(environment.reset())
    for _ in range(steps):
        seen.append(environment.step(rng.integers(environment.action_space.n, size=environment.num_envs))[0])
    environment.close()
    return np.stack(seen)


def emulated(sticky_actions, steps=60):
    """The same of our own environments, which stand on the emulator alone."""
    environment, rng, seen = Atari("Breakout", sticky_actions=sticky_actions), np.random.default_rng(0), []
    seen.append(environment.reset(seed=np.array([3])).obs)
    for _ in range(steps):
        seen.append(environment.step(rng.integers(environment.num_actions, size=1)).obs)
    environment.close()
    return np.stack(seen)


def test_a_step_of_a_game_is_4_frames():
    environment = make_training_envs(game(noop_max=0), 1, seed=0)
    environment.reset()
    frames = [environment.step(np.array([1]))[3][0]["episode_frame_number"] for _ in range(10)]
    assert np.diff(frames).tolist() == [4] * 9
    environment.close()


def test_actions_of_a_game_are_not_sticky_unless_asked_for():
    """As the emulator plays without and with them."""
    plain, sticky = (
        played(make_training_envs(game(life_loss=False, **options), 1, seed=3))
        for options in ({}, {"sticky_actions": 0.25})
    )
    assert np.array_equal(plain, emulated(0.0))
    assert np.array_equal(sticky, emulated(0.25))
    assert not np.array_equal(sticky, plain)


def ends(environment, steps=400):
    """Rewards, the number of `done` and the infos of games that ended, with FIRE and then nothing."""
    environment.reset()
    rewards, dones, games = [], 0, []
    for step in range(steps):
        _, reward, done, infos = environment.step(np.full(environment.num_envs, 1 if step % 20 == 0 else 3))
        rewards.extend(reward.tolist())
        dones += int(done.sum())
        games += [info["episode"] for info in infos if "episode" in info]
    environment.close()
    return rewards, dones, games


def test_training_clips_rewards_and_evaluation_does_not():
    task = game("MsPacman")
    assert set(ends(make_training_envs(task, 1, seed=0), 100)[0]) == {0.0, 1.0}
    assert {0.0, 10.0} <= set(ends(make_evaluation_envs(task, 1, seed=0), 100)[0])


def test_scores_are_of_whole_games_whatever_a_lost_life_is():
    _, dones, games = ends(make_evaluation_envs(game(), 1, seed=0))
    assert 0 < len(games) < dones  # five lives each
    _, whole, same = ends(make_evaluation_envs(game(life_loss=False), 1, seed=0))
    assert len(same) == whole > 0


def test_a_policy_that_never_fires_finishes_its_games_as_in_training():
    """It has not learned to where FIRE is pressed for it after each lost life; without that it waits for ever."""

    def games(**options):
        environment = make_evaluation_envs(game(**options), 1, seed=0)
        environment.reset()
        infos = [info for _ in range(400) for info in environment.step(np.full(1, 2))[3]]
        environment.close()
        return sum("episode" in info for info in infos)

    assert games() >= 1
    assert games(life_loss=False) == 0


def test_a_game_has_any_of_its_names_and_an_unknown_one_is_refused():
    for name in ("SpaceInvaders", "space_invaders"):
        environment = make_training_envs(game(name), 1, seed=0)
        assert environment.observation_space == spaces.Box(0, 255, (4, 84, 84), np.uint8)
        environment.close()
    with pytest.raises(ValueError, match="did you mean Breakout"):
        make_training_envs(game("Breakuot"), 1, seed=0)


@pytest.mark.parametrize(
    "name",
    ["ALE/Breakout-v5", "BreakoutNoFrameskip-v4", "Breakout-v4", "ale_py:ALE/Breakout-v5", "BreakoutDeterministic-v4"],
)
def test_an_atari_id_is_refused_with_what_to_give(name):
    with pytest.raises(ValueError, match=r"is an Atari game: use --game Breakout .*, not --env"):
        make_training_envs(describe_task(TaskSettings(env=name)), 1, seed=0)


def test_another_environment_is_the_librarys():
    environment = make_training_envs(CARTPOLE, 3, seed=0)
    assert (environment.num_envs, environment.observation_space.shape) == (3, (4,))
    environment.close()
    with pytest.raises(ValueError, match=r"^unknown environment 'CartPol-v1': did you mean CartPole-v1"):
        make_training_envs(describe_task(TaskSettings(env="CartPol-v1")), 1, seed=0)


def test_arguments_reach_the_environment():
    task = describe_task(TaskSettings(env="FrozenLake-v1", env_kwargs=("map_name=8x8",)))
    environment = make_training_envs(task, 1, seed=0)
    assert environment.observation_space.n == 64
    environment.close()
    with pytest.raises(ValueError, match=r"^cannot make FrozenLake-v1: TypeError: .*'colour'"):
        make_training_envs(describe_task(TaskSettings(env="FrozenLake-v1", env_kwargs=("colour=1",))), 1, seed=0)


def test_seeds_decide_what_is_played():
    first, again, other = (played(make_training_envs(CARTPOLE, 2, seed=seed), 5) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_images_are_channel_first():
    class Images(gym.Env):
        observation_space = spaces.Box(0, 255, (40, 36, 3), np.uint8)
        action_space = spaces.Discrete(2)
        metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

        def reset(self, seed=None, options=None):
            return np.zeros((40, 36, 3), np.uint8), {}

    gym.register("WnrlImages-v0", Images)
    try:
        environment = make_training_envs(describe_task(TaskSettings(env="WnrlImages-v0")), 1, seed=0)
    finally:
        gym.registry.pop("WnrlImages-v0")
    assert isinstance(environment, VecTransposeImage)
    assert environment.reset().shape == (1, 3, 40, 36)


@pytest.mark.parametrize("task", [CARTPOLE, game()])
def test_there_are_pictures_where_they_are_asked_for(task):
    pytest.importorskip("pygame")
    environment = make_evaluation_envs(task, 2, seed=0, pictures=True)
    environment.reset()
    assert next(iter(environment.get_images())).shape[2] == 3
    environment.close()


def test_the_description_has_the_options_of_a_game_alone():
    assert CARTPOLE == {"game": None, "env": "CartPole-v1", "emulator": {}}
    assert game(noop_max=7, life_loss=False)["emulator"] == {
        "noop_max": 7,
        "fire_reset": True,
        "sticky_actions": 0.0,
        "full_action_set": False,
        "max_frames": 108_000,
        "frame_skip": 4,
        "stack": 4,
        "terminal_on_life_loss": False,
    }


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ("nan", "returned a reward of nan"),
        ("None", "returned a reward of None"),
        ("nan obs", r"returned an observation with nan at \[1\]"),
        ("shape", r"returned an observation of float32 \[3, 2\]"),
        ("error", "failed: ZeroDivisionError: division by zero"),
    ],
)
def test_a_fault_is_named_with_the_environments_index(fault, what, monkeypatch):
    gym.register("Faulty-v0", Faulty)
    try:
        task = describe_task(TaskSettings(env="Faulty-v0", env_kwargs=(f"fault={fault!r}", "index=2", "at=4")))
        environment = make_training_envs(task, 4, seed=0)  # each is seeded with its index
        environment.reset()
        for _ in range(2):
            environment.step(np.zeros(4, int))
        with pytest.raises(EnvironmentFault, match=f"^environment 2 {what}"):
            environment.step(np.zeros(4, int))
    finally:
        gym.registry.pop("Faulty-v0")
