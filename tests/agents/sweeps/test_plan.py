"""agents.sweeps.plan"""

import pytest

from agents.sweeps.plan import Override, Plan, seed_range, values_of

BASE = {"agents": ("dqn",), "envs": ("CartPole-v1",), "games": (), "norms": ("none",), "seeds": (0,), "steps": 100}


def plan(**changes):
    return Plan(**{**BASE, **changes})


def test_the_product_of_all_axes_one_seed_after_the_other():
    axes = {"learning_rate": ("1e-3", "1e-4"), "gamma": (0.9,)}
    trials = plan(agents=("dqn", "pqn"), games=("Pong",), norms=("none", "weight"), seeds=(4, 5), axes=axes).trials()
    assert len(trials) == len({trial.name for trial in trials}) == 2 * 2 * 2 * 2 * 2
    assert [trial.seed for trial in trials] == [4] * 16 + [5] * 16
    assert {trial.varied for trial in trials} == {("learning_rate",)}
    assert {trial.settings["gamma"] for trial in trials} == {0.9}
    assert {(trial.task, trial.game) for trial in trials} == {("CartPole-v1", False), ("Pong", True)}


def test_words_of_one_value():
    trials = plan(axes={"hidden": ("64,64", "32"), "env_kwargs": ("a=[1,2],b=3",)}).trials()
    assert [trial.settings["hidden"] for trial in trials] == [("64", "64"), ("32",)]
    assert trials[0].settings["env_kwargs"] == ("a=[1,2]", "b=3")
    host = plan(agents=("sb3-ppo",), axes={"hyperparams": ("gamma:0.9,policy_kwargs:dict(a=1,b=2)",)}).trials()
    assert host[0].settings["hyperparams"] == ("gamma:0.9", "policy_kwargs:dict(a=1,b=2)")
    assert [one.name for one in trials] == ["dqn-CartPole-v1-none-hidden=64_64-s0", "dqn-CartPole-v1-none-hidden=32-s0"]


def test_overrides():
    ours = Override.of({"agent": "dqn", "norm": ["weight", "layer"], "gamma": 0.5})
    later = Override.of({"norm": "layer", "gamma": 0.25})
    trials = plan(norms=("none", "weight", "layer"), axes={"gamma": (0.9,)}, overrides=(ours, later)).trials()
    assert [trial.settings["gamma"] for trial in trials] == [0.9, 0.5, 0.25]
    other = plan(agents=("dqn", "ppo"), overrides=(Override.of({"agent": "ppo", "epochs": 2}),)).trials()
    assert [trial.settings for trial in other] == [{}, {"epochs": 2}]
    for entries in ({"gamma": 1}, {"norm": "none"}):
        with pytest.raises(ValueError, match="needs one of agent, env, game, norm"):
            Override.of(entries)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"agents": ()}, "at least one of --agents"),
        ({"norms": ()}, "at least one of --norms"),
        ({"envs": ()}, "name the tasks"),
        ({"norms": ("none", "none")}, "--norms has none twice"),
        ({"axes": {"gamma": (1, 1)}}, "--gamma has 1 twice"),
        ({"axes": {"learningrate": (1,)}}, "dqn has no setting 'learningrate': did you mean learning_rate"),
        ({"axes": {"epochs": (1,)}}, "dqn has no setting 'epochs'"),
        ({"axes": {"seed": (1, 2)}}, "a sweep sets seed itself: --seeds"),
        ({"axes": {"run_dir": ("x",)}}, "a sweep sets run_dir itself: leave it out"),
        ({"overrides": (Override.of({"norm": "none", "lr": 1}),)}, "no setting 'lr': did you mean learning_rate"),
        (
            {"axes": {"gamma": (1, 0.5)}, "overrides": (Override.of({"norm": "none", "gamma": 1}),)},
            "gamma is an axis with 2 values, and in an override",
        ),
        ({"agents": ("a3c",)}, "there is no agent 'a3c'"),
        ({"axes": {"gamma": ()}}, "gamma has no values"),
        (
            {"overrides": (Override.of({"norm": ["wieght", "layer"], "agent": "dqn", "gamma": 1}),)},
            "no run has agent dqn and norm wieght or layer, which an override is for",
        ),
    ],
)
def test_what_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        plan(**{"axes": {"gamma": (1,)}, **changes})


def test_values_and_seeds():
    assert values_of(["True", "1", "None"]) == (True, "1", "None")
    assert values_of([]) == (True,)
    assert seed_range(3, 2) == (3, 4)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        seed_range(0, 0)
