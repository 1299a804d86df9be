import numpy as np
import pytest

from agents.training import evaluation
from agents.training.evaluation import Scores, evaluate, evaluate_steps
from envs import Chain, Episode
from tests.agents.environments import Clockwork


def left(timestep):
    return np.zeros(len(timestep.obs), int)


def right(timestep):
    return np.ones(len(timestep.obs), int)


def test_scores_and_lengths_are_those_of_whole_games():
    games = evaluate(right, Chain(2, length=5), episodes=3, seed=0)
    assert [(game.score, game.length) for game in games] == [(1, 4)] * 3
    games = evaluate(left, Chain(2, length=5, max_steps=7), episodes=2, seed=0)
    assert [(game.score, game.length) for game in games] == [(0, 7)] * 2


def test_each_environment_plays_its_share_so_that_short_games_do_not_count_more():
    environment = Clockwork(1, 10)  # the score is the length
    games = evaluate(left, environment, episodes=10, seed=0)
    assert [game.score for game in games if game.env == 0] == [1] * 5
    assert np.mean([game.score for game in games]) == 5.5  # the first ten to end would have a mean of about 2


@pytest.mark.parametrize(
    ("episodes", "lengths", "shares"),
    [
        (1, (3, 1, 2), [1, 0, 0]),
        (5, (3, 1), [3, 2]),
        (7, (1, 2, 3), [3, 2, 2]),
        (3, (2, 2, 2), [1, 1, 1]),
        (4, (5,), [4]),
    ],
)
def test_the_number_of_games_is_exact(episodes, lengths, shares):
    games = evaluate(left, Clockwork(*lengths), episodes=episodes, seed=0)
    assert [sum(game.env == index for game in games) for index in range(len(lengths))] == shares


def test_no_game_is_refused():
    with pytest.raises(ValueError, match="episodes must be at least 1, got 0"):
        evaluate(left, Clockwork(1), episodes=0, seed=0)


def test_the_seed_reaches_the_environments():
    environment = Clockwork(2)
    evaluate(left, environment, episodes=1, seed=77)
    evaluate_steps(left, environment, steps=1, seed=78)
    assert environment.seeds == [77, 78]


def test_each_row_is_watched_the_first_too():
    rows = []
    evaluate(left, Clockwork(2), episodes=2, seed=0, watch=rows.append)
    assert [(bool(row.first[0]), bool(row.last[0])) for row in rows] == [
        (True, False), (False, False), (False, True), (True, False), (False, False), (False, True)
    ]  # fmt: skip


@pytest.mark.parametrize("run", [evaluate, evaluate_steps])
def test_the_policy_sees_where_games_begin(run):
    """A state carried from row to row is reset there."""
    seen = []

    def policy(timestep):
        seen.append(bool(timestep.first[0]))
        return left(timestep)

    length = {"episodes": 2} if run is evaluate else {"steps": 4}
    run(policy, Clockwork(2), seed=0, **length)
    assert seen == [True, False, False, True, False]


def test_a_stop_returns_what_has_ended():
    asked = []

    def stopped():
        asked.append(None)
        return len(asked) > 4

    assert len(evaluate(left, Clockwork(2), episodes=100, seed=0, stopped=stopped)) == 1
    assert evaluate_steps(left, Clockwork(2), steps=100, seed=0, stopped=lambda: True) == []


@pytest.mark.parametrize(("steps", "games"), [(9, 3), (10, 3), (12, 4), (1, 0)])
def test_steps_of_a_measured_length_leave_reset_rows_out(steps, games):
    assert len(evaluate_steps(left, Clockwork(3), steps=steps, seed=0)) == games


def test_steps_are_counted_over_all_environments():
    assert len(evaluate_steps(left, Clockwork(2, 2, 2), steps=12, seed=0)) == 6


def test_scores_are_summed_up_and_normalized_where_the_game_has_such_scores():
    games = [Episode(0, 10.0, 5), Episode(1, 24.0, 7)]
    scores = Scores.of(games, "Breakout", "no sticky actions")
    assert (scores.scores, scores.lengths, scores.conditions) == ((10, 24), (5, 7), "no sticky actions")
    assert (scores.mean, scores.std, scores.mean_length) == (17, 7, 6)
    assert scores.human_normalized == pytest.approx((17 - 1.7) / (30.5 - 1.7))
    assert Scores.of(games).human_normalized is None


def test_scores_of_no_game_are_no_number():
    scores = Scores.of([], "Breakout")
    assert np.isnan([scores.mean, scores.std, scores.mean_length]).all()
    assert scores.human_normalized is None


def test_a_game_that_does_not_end_is_left_out_and_reported(monkeypatch):
    """One environment of three plays on for ever: the evaluation ends, with the games of the others."""
    monkeypatch.setattr(evaluation, "LONGEST_GAME", 50)
    said = []
    environment = Clockwork(3, 10**9, 5)
    games = evaluate(left, environment, episodes=7, seed=0, message=said.append)
    assert sorted(game.env for game in games) == [0, 0, 0, 2, 2]
    assert said == [
        "2 of 7 games of an evaluation did not end within 50 steps and are not counted: give the environment a time "
        "limit (gymnasium.wrappers.TimeLimit)"
    ]


def test_games_just_short_of_the_limit_are_counted(monkeypatch):
    monkeypatch.setattr(evaluation, "LONGEST_GAME", 51)
    assert len(evaluate(left, Clockwork(50, 50), episodes=6, seed=0, message=pytest.fail)) == 6


def test_what_is_shown_counts_games_and_steps():
    counts = []
    evaluate(left, Clockwork(1, 3), episodes=3, seed=0, shown=counts.append)
    assert counts == [1, 1, 3]  # the second row of the first environment is a reset
    steps = []
    evaluate_steps(left, Clockwork(5, 5), steps=6, seed=0, shown=steps.append)
    assert steps == [2, 4, 6]
