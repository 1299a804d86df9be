import pytest

from envs import human_normalized, rom_id
from envs.scores import SCORES


@pytest.mark.parametrize(
    ("game", "random", "human"),
    [
        ("breakout", 1.7, 30.5),
        ("pong", -20.7, 14.6),
        ("space_invaders", 148.0, 1668.7),
        ("seaquest", 68.4, 42054.7),
        ("skiing", -17098.1, -4336.9),
        ("montezuma_revenge", 0.0, 4753.3),
        ("video_pinball", 16256.9, 17667.9),
        ("alien", 227.8, 7127.7),
        ("zaxxon", 32.5, 9173.3),
    ],
)
def test_scores_are_the_published_ones(game, random, human):
    assert SCORES[game] == (random, human)


def test_the_table_has_57_games_that_ale_py_has():
    assert len(SCORES) == 57
    assert [rom_id(game) for game in SCORES] == list(SCORES)


def test_the_human_is_better_than_random_play():
    assert all(human > random for random, human in SCORES.values())


def test_checksums_of_the_two_columns():
    assert round(sum(random for random, _ in SCORES.values()), 1) == 50864.9
    assert round(sum(human for _, human in SCORES.values()), 1) == 606494.2


def test_human_normalized():
    assert human_normalized("Breakout", 1.7) == 0
    assert human_normalized("breakout", 30.5) == 1
    assert human_normalized("Pong", 14.6 + 35.3) == pytest.approx(2)
    assert human_normalized("Breakout", 0.0) == pytest.approx(-1.7 / 28.8)


def test_a_game_without_scores_gives_none():
    assert human_normalized("Tetris", 1.0) is None
    assert human_normalized("CartPole-v1", 1.0) is None
