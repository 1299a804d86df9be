import random

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_util import make_vec_env

from agents.commands.sb3.games import play_games, takes_masks


class Count(gym.Env):
    """Games of 4 steps that give the action as reward, and draw from the global generators."""

    observation_space = spaces.Box(-1, 1, (2,))
    length = 4

    def __init__(self, actions=3):
        self.action_space = spaces.Discrete(actions) if actions else spaces.Box(-1, 1, (1,))

    def reset(self, seed=None, options=None):
        self.made = 0
        np.random.rand(), random.random(), torch.rand(1)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.made += 1
        return np.zeros(2, np.float32), float(np.mean(action)), self.made == self.length, False, {}


class Masked(Count):
    """Allows the action 0 alone."""

    def action_masks(self):
        return [True, False, False]


class Always:
    """A policy of one action, which sees what it is asked."""

    def __init__(self, action, environment):
        self.action_space, self._action, self.asked = environment.action_space, action, []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.asked.append((episode_start.tolist(), deterministic))
        return np.full(len(observation), self._action), state


def environments(number=2, kind=Count, **options):
    return make_vec_env(kind, number, seed=0, env_kwargs=options)


def test_scores_and_lengths_are_those_of_whole_games():
    environment = environments()
    policy = Always(2, environment)
    games = play_games(policy, environment, 5)
    assert (games.scores, games.lengths) == ([8.0] * 5, [4] * 5)
    assert policy.asked[0] == ([True, True], True)
    assert policy.asked[1] == ([False, False], True)


def test_each_environment_plays_its_share():
    """Else the short games of one would be counted more often."""

    class Uneven(Count):
        made_so_far = 0

        def __init__(self):
            super().__init__()
            self.length = 2 if Uneven.made_so_far % 2 == 0 else 8
            Uneven.made_so_far += 1

    environment = environments(2, Uneven)
    assert sorted(play_games(Always(1, environment), environment, 6).lengths) == [2] * 3 + [8] * 3


def test_a_stop_ends_it_at_the_next_step():
    environment = environments()
    policy = Always(1, environment)
    assert play_games(policy, environment, 100, stopped=lambda: len(policy.asked) == 7) is None
    assert len(policy.asked) == 7


def test_each_step_is_watched_and_the_ends_of_the_first_environment():
    environment, seen = environments(), []
    play_games(
        Always(1, environment),
        environment,
        6,
        watch=lambda: seen.append(environment.get_attr("made", 0)[0]),
        ended=lambda: seen.append("end"),
    )
    assert seen[:6] == [0, 1, 2, 3, "end", 0]
    assert seen.count("end") == 3  # of 6, in two environments


def test_random_actions_have_their_share_and_seed():
    def score(epsilon, seed):
        environment = environments()
        return np.mean(play_games(Always(0, environment), environment, 200, epsilon=epsilon, seed=seed).scores) / 4

    assert score(0.0, 0) == 0
    assert score(0.5, 0) == score(0.5, 0) == pytest.approx(0.5, abs=0.1)
    assert score(0.5, 1) != score(0.5, 0)


def test_random_actions_must_be_possible():
    environment = environments(actions=0)
    with pytest.raises(ValueError, match="epsilon needs discrete actions without masks"):
        play_games(Always(0.5, environment), environment, 1, epsilon=0.1)
    assert play_games(Always(0.5, environment), environment, 1).scores == [2.0]


def test_the_global_generators_keep_their_states():
    environment = environments()
    np.random.seed(0), random.seed(0), torch.manual_seed(0)
    expected = np.random.rand(), random.random(), torch.rand(1).item()
    np.random.seed(0), random.seed(0), torch.manual_seed(0)
    play_games(Always(1, environment), environment, 4)
    assert (np.random.rand(), random.random(), torch.rand(1).item()) == expected


def test_masks_are_given_to_a_policy_that_takes_them():
    environment = environments(2, Masked)
    model = MaskablePPO("MlpPolicy", environment, n_steps=8, batch_size=8, seed=0, device="cpu")
    with torch.no_grad():
        model.policy.action_net.bias.copy_(torch.tensor([-9.0, 0.0, 9.0]))
    assert play_games(model, environment, 3).scores == [0.0] * 3
    assert play_games(model.policy, environment, 3).scores == [0.0] * 3
    assert play_games(model, environments(2), 3).scores == [8.0] * 3  # which has no masks
    with pytest.raises(ValueError, match="without masks"):
        play_games(model, environment, 3, epsilon=0.1)


@pytest.mark.parametrize(
    ("algorithm", "policy", "takes"), [(MaskablePPO, "MlpPolicy", True), (PPO, "MlpPolicy", False)]
)
def test_who_takes_masks(algorithm, policy, takes):
    model = algorithm(policy, environments(), n_steps=8, batch_size=8, device="cpu")
    assert takes_masks(model) is takes_masks(model.policy) is takes


def test_a_recurrent_policy_keeps_its_memory_within_a_game():
    environment = environments()
    model = RecurrentPPO("MlpLstmPolicy", environment, n_steps=8, batch_size=8, device="cpu")
    states = []

    class Watching:
        action_space = model.action_space

        def predict(self, observation, state=None, **options):
            states.append(state)
            return model.predict(observation, state=state, **options)

    play_games(Watching(), environment, 2)
    assert states[0] is None
    assert all(np.any(state[0]) for state in states[1:])


def test_a_model_of_the_library_plays():
    environment = environments()
    model = DQN("MlpPolicy", environment, device="cpu", learning_starts=1)
    assert len(play_games(model, environment, 3).scores) == 3
