"""agents.sweeps.search"""

import pytest

from agents.sweeps.search import (
    WORST,
    Candidate,
    Range,
    best_overrides,
    candidates,
    ends_of,
    grid_of,
    space_of,
    stopped_best,
    without_best,
)
from tests.agents.sweeps.made_up import a_trial


def test_spaces():
    space = space_of(["--learning-rate=1e-4:1e-2", "epochs=1:4", "tau=0.1:0.2", "hidden=64"])
    assert space == {
        "learning_rate": Range(1e-4, 1e-2, False),
        "epochs": Range(1, 4, True),
        "tau": Range(0.1, 0.2, False),
        "hidden": ("64",),
    }
    assert [space[name].log for name in ("learning_rate", "epochs", "tau")] == [True, False, False]
    assert [value in space["learning_rate"] for value in (1e-4, 1e-4 - 1e-19, 1e-2)] == [True] * 3
    assert [value in space["learning_rate"] for value in (9.9e-5, 0.02, "1e-3")] == [False] * 3
    assert [value in space["epochs"] for value in (1, 4, 2.5, 5)] == [True, True, False, False]
    assert grid_of(space_of(["a=1,2", "b=3"])) == {"a": ("1", "2"), "b": ("3",)}
    assert space_of(["double=True,False"]) == {"double": (True, False)}
    assert space_of(["hyperparams=n_steps:128,n_steps:256"]) == {"hyperparams": ("n_steps:128", "n_steps:256")}
    with pytest.raises(ValueError, match="learning_rate has a range: add --samples 20"):
        grid_of(space)


@pytest.mark.parametrize("text", ["gamma", "gamma=", "=1,2", "gamma=1:x", "gamma=2:1", "gamma=0:inf", "gamma=1:2:3"])
def test_what_is_refused(text):
    with pytest.raises(ValueError, match=r"range|--tune"):
        space_of([text])
    with pytest.raises(ValueError, match="each name once"):
        space_of(["a=1", "a=2"])


def test_what_is_tried_before_a_search_has_each_end_and_each_value():
    space = space_of(["learning_rate=1e-4:1e-2", "optimizer=adam,sgd,rmsprop"])
    assert [tuple(one.values()) for one in ends_of(space)] == [
        (1e-4, "adam"),
        (1e-2, "sgd"),
        (1e-2, "rmsprop"),
    ]


def test_the_best_of_each():
    trials = [
        a_trial(norm=norm, seed=seed, settings={"gamma": gamma, "tau": 1}, varied=("gamma",))
        for norm in ("none", "weight")
        for gamma in ("0.5", "0.9", "0.99")
        for seed in range(2)
    ]
    scores = {trial.name: float(number) for number, trial in enumerate(trials)}
    scores[trials[4].name], scores[trials[5].name] = -5.0, 100.0  # the highest mean, by one lucky run
    del scores[trials[10].name]  # has not finished: its settings do not count
    found = candidates(trials, scores, ["gamma"])
    assert [(one.trial.norm, one.settings["gamma"], one.score) for one in found] == [
        ("none", "0.5", 0.5),
        ("none", "0.9", 2.5),
        ("none", "0.99", 47.5),
        ("weight", "0.5", 6.5),
        ("weight", "0.9", 8.5),
    ]
    assert [(one.where, one.settings) for one in best_overrides(found)] == [
        ({"agent": ("dqn",), "env": ("CartPole-v1",), "norm": ("none",)}, {"gamma": "0.99"}),
        ({"agent": ("dqn",), "env": ("CartPole-v1",), "norm": ("weight",)}, {"gamma": "0.9"}),
    ]


def test_the_best_is_one_that_made_all_its_steps():
    """A score at a rung is of another length. `none` has no run that came to the end, but for one that broke down."""
    weight, none = a_trial(norm="weight"), a_trial(norm="none")
    found = [
        Candidate(weight, {"tau": 1}, 50.0, complete=False),
        Candidate(weight, {"tau": 2}, 10.0),
        Candidate(weight, {"tau": 3}, 30.0),
        Candidate(weight, {"tau": 4}, 40.0, complete=False),
        Candidate(none, {"tau": 5}, 1.0, complete=False),
        Candidate(none, {"tau": 6}, 2.0, complete=False),
        Candidate(none, {"tau": 7}, WORST),
    ]
    assert [(one.where["norm"], one.settings) for one in best_overrides(found)] == [
        (("weight",), {"tau": "3"}),
        (("none",), {"tau": "6"}),
    ]
    assert stopped_best(found) == ["dqn CartPole-v1 none"]


def test_what_has_no_best_settings():
    """`none` broke down with all settings, `layer` has no run that was tried to its end."""
    trials = [a_trial(norm=norm, seed=seed) for norm in ("none", "weight", "layer") for seed in range(2)]
    found = [Candidate(trials[0], {}, WORST), Candidate(trials[2], {}, WORST), Candidate(trials[2], {}, -9.0)]
    assert without_best(trials, found) == {"dqn CartPole-v1 none": True, "dqn CartPole-v1 layer": False}
    assert without_best(trials[2:4], found) == {}
