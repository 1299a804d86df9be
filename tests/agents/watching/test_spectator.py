import numpy as np
import pytest
import torch

from agents.acting.policies import make_policy
from agents.learner.network import make_network
from agents.training.evaluation import evaluate
from agents.watching import spectator as module
from agents.watching.bars import width_of
from agents.watching.picture import Size
from agents.watching.spectator import Spectator
from envs import Chain
from tests.agents.environments import Coloured
from tests.agents.training.chain_models import NETWORK, chain_model
from wnrl.networks.heads import QValues


class Seen:
    """A screen that keeps what it is shown."""

    def __init__(self):
        self.pictures, self.texts = [], []

    def show(self, picture, text=""):
        self.pictures.append(picture())
        self.texts.append(text)


class Visible(Chain):
    """A chain whose picture is as bright as its state."""

    action_meanings = ("LEFT", "RIGHT")

    def render(self):
        return np.full((2, 3, 3), self._position[0], np.uint8)


def watched(environment, network, episodes=1, **options):
    screen = Seen()
    spectator = Spectator(environment, screen, **options)
    policy = spectator.watching(make_policy(network, np.random.default_rng(0), seen=spectator.see))
    evaluate(policy, environment, episodes=episodes, seed=0, watch=spectator.watch)
    return screen


def shades(screen):
    return [picture[0, 0, 0] for picture in screen.pictures]


def test_each_row_of_each_game_is_shown_once():
    screen = watched(Visible(), chain_model(right=True), episodes=2)
    assert shades(screen) == [0, 1, 2, 3, 4] * 2
    assert screen.texts[:2] == ["game 1, score 0"] * 2
    assert screen.texts[4:6] == ["game 1, score 1", "game 2, score 0"]


class Constant(torch.nn.Module):
    """A Q network for any observations."""

    def __init__(self):
        super().__init__()
        self.values = torch.nn.Parameter(torch.tensor([0.0, 1.0]))

    def forward(self, obs):
        return QValues(self.values.expand(len(obs), 2))


def test_games_of_other_environments_and_later_ones_are_not_shown():
    assert shades(watched(Coloured(3, 5), Constant(), 4, games=1)) == [0, 20, 40, 60]


def test_the_values_are_those_of_the_row_that_is_shown(monkeypatch):
    drawn = []

    class Recording:
        def __init__(self, names):
            drawn.append(names)

        def draw(self, values, chosen, height):
            drawn.append((values.numbers, chosen, height))
            return np.zeros((height, 4, 3), np.uint8)

    monkeypatch.setattr(module, "Bars", Recording)
    network = make_network(NETWORK)
    with torch.no_grad():
        network.head.bias.copy_(torch.tensor([0.0, 9.0]))  # to the right
        expected = network(torch.eye(5)).q_values.numpy()
    screen = watched(Visible(), network, values=True, size=Size(6))
    assert shades(screen) == [0, 1, 2, 3, 4]
    assert {picture.shape for picture in screen.pictures} == {(6, 13, 3)}
    names, *rows = drawn
    assert names == ("LEFT", "RIGHT")
    for state, (numbers, chosen, height) in enumerate(rows[:4]):
        assert numbers == pytest.approx(expected[state])
        assert (chosen, height) == (1, 6)
    assert rows[4][1] is None  # nothing is done after the end
    assert len({tuple(row[0]) for row in rows[:4]}) == 4


def test_bars_stand_beside_the_picture_only_where_they_are_asked_for():
    shapes = {
        values: watched(Visible(), chain_model(right=True), values=values, size=Size(300)).pictures[0].shape
        for values in (False, True)
    }
    assert shapes == {False: (300, 450, 3), True: (300, 450 + width_of(300), 3)}


def test_a_picture_that_is_not_asked_for_is_not_made():
    environment = Visible()
    environment.render = None
    environment.reset(0)
    Spectator(environment, Blind()).show()
    with pytest.raises(TypeError):
        Spectator(environment, Seen()).show()


class Blind:
    """A screen that has no time."""

    def show(self, picture, text=""):
        pass
