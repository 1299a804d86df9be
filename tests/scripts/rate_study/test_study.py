import math
from dataclasses import replace

import pytest
import torch
from rate_study import study
from rate_study.digits import TASKS, Examples
from rate_study.study import (
    LARGEST_RATE,
    OPTIMIZERS,
    Outcome,
    Study,
    StudyRun,
    build_network,
    loss_and_error,
    train_epoch,
    train_once,
)
from torch import nn

from tests.products import covering

RUN = StudyRun("digits", "none", rate=1e-3, seed=0, epochs=2, optimizer="adam", init="data", units="sqrt")


def weights(run):
    return torch.cat([p.detach().flatten() for p in build_network(run, TASKS[run.task]()).parameters()])


def outputs(run):
    task = TASKS[run.task]()
    with torch.no_grad():
        return build_network(run, task).eval()(task.training.inputs[:20])


@pytest.mark.parametrize(("task", "init", "units"), covering(TASKS, ["data", "preserve"], ["sqrt", "paper"]))
def test_all_norms_begin_as_the_same_function(task, init, units):
    plain = replace(RUN, task=task, init=init, units=units)
    for norm in TASKS[task]().norms:
        assert torch.allclose(outputs(replace(plain, norm=norm)), outputs(plain), atol=1e-4), norm


def test_the_first_weights_depend_on_seed_and_init():
    assert torch.equal(weights(RUN), weights(RUN))
    assert not torch.equal(weights(RUN), weights(replace(RUN, seed=1)))
    assert not torch.equal(weights(RUN), weights(replace(RUN, init="preserve")))
    assert not torch.equal(weights(replace(RUN, init="preserve")), weights(replace(RUN, seed=1, init="preserve")))


def test_data_dependent_initialization_standardizes_the_plain_baseline_too():
    task = TASKS["digits"]()
    with torch.no_grad():
        logits = build_network(RUN, task)(task.training.inputs[:500])
    assert torch.allclose(logits.mean(0), torch.zeros(10), atol=1e-4)
    assert torch.allclose(logits.std(0, correction=0), torch.ones(10), atol=1e-4)


def test_the_units_of_g_are_those_asked_for():
    g = [build_network(replace(RUN, norm="weight", units=units), TASKS["digits"]())[0].g for units in ("sqrt", "paper")]
    assert torch.allclose(3 * g[0], g[1])  # 9 inputs a row


def test_all_norms_see_the_same_minibatches(monkeypatch):
    orders = {}

    def record(network, optimizer, examples, order):
        orders.setdefault((type(network[0]).__name__, run.seed), []).append(order)
        return 1.0

    monkeypatch.setattr(study, "train_epoch", record)
    for run in [replace(RUN, norm=norm, seed=seed) for norm in ("none", "batch") for seed in (0, 1)]:
        train_once(run)
    none, other_seed, batch, _ = map(torch.stack, orders.values())
    assert torch.equal(none, batch)
    assert not torch.equal(none, other_seed)
    assert not torch.equal(none[0], none[1])
    assert torch.equal(none.sort().values[0], torch.arange(1437))


def test_an_epoch_is_one_update_per_whole_minibatch():
    """By hand: one weight, inputs and targets such that SGD's steps are known."""
    network = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(network.weight)
    examples = Examples(torch.ones(250, 1), torch.zeros(250, dtype=torch.long))
    examples.targets[200:] = 1  # in the incomplete minibatch, which is left out
    loss = train_epoch(network, torch.optim.SGD(network.parameters(), lr=1.0), examples, torch.arange(250))
    first = math.log(2)  # gradient ∓1/2, so that the logits are then 1/2 and −1/2
    second = math.log(1 + math.exp(-1))
    assert loss == pytest.approx((first + second) / 2)
    assert network.weight[0].item() == pytest.approx(0.5 + 1 - 1 / (1 + math.exp(-1)))


def test_measures_are_of_evaluation_mode():
    task = TASKS["digits"]()
    network = build_network(replace(RUN, norm="batch", init="preserve"), task)
    with torch.no_grad():
        logits = network.eval()(task.held_out.inputs)
    loss, error = loss_and_error(network, task.held_out)
    assert loss == pytest.approx(nn.functional.cross_entropy(logits, task.held_out.targets).item())
    assert error == pytest.approx((logits.argmax(1) != task.held_out.targets).float().mean().item())
    assert network.training


def test_training_learns_and_is_repeated_exactly():
    state = torch.get_rng_state()
    outcome = train_once(RUN)
    assert torch.equal(torch.get_rng_state(), state)
    assert outcome.loss == outcome.curve[1] < 0.5 < outcome.curve[0]
    assert outcome.full_loss < 0.5
    assert outcome.test_error < 0.2
    assert train_once(RUN)._replace(seconds=0) == outcome._replace(seconds=0)


def test_an_lstm_learns_the_sequence_with_weight_norm():
    outcome = train_once(replace(RUN, task="sequence", norm="weight", rate=1e-2, epochs=1))
    assert outcome.test_loss < 0.9 * TASKS["sequence"]().chance


def test_a_run_that_diverges_ends_and_says_so():
    outcome = train_once(replace(RUN, rate=1e30, epochs=5))
    assert outcome.diverged
    assert outcome.loss == math.inf
    assert len(outcome.curve) < 5


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_largest_rate_diverges_with_every_optimizer(name):
    assert train_once(replace(RUN, rate=LARGEST_RATE, optimizer=name)).diverged


@pytest.mark.parametrize("lost", [{"curve": (1.0, math.nan)}, {"curve": (math.inf, 1.0)}, {"full_loss": math.nan}])
def test_what_is_not_finite_has_diverged(lost):
    good = Outcome(RUN, (2.0, 1.0), full_loss=0.9, test_loss=1.0, test_error=0.1, seconds=1.0)
    assert (good.diverged, good.loss) == (False, 1.0)
    bad = good._replace(**lost)
    assert (bad.diverged, bad.loss) == (True, math.inf)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_the_rate(name):
    optimizer = OPTIMIZERS[name]([nn.Parameter(torch.zeros(1))], lr=0.7)
    assert optimizer.defaults["lr"] == 0.7


def test_a_study_is_each_norm_at_each_rate_with_each_seed():
    runs = Study("digits", norms=("none", "weight"), rates=(0.1, 0.01, 0.1), seeds=2, optimizer="sgd").runs()
    assert [(run.seed, run.norm, run.rate) for run in runs[:3]] == [
        (0, "none", 0.01),
        (0, "none", 0.1),
        (0, "weight", 0.01),
    ]
    assert len(runs) == 8
    assert {(run.task, run.epochs, run.optimizer, run.init, run.units) for run in runs} == {
        ("digits", 10, "sgd", "data", "sqrt")
    }
    assert {run.norm for run in Study("sequence").runs()} == {"none", "weight"}
    assert {run.init for run in Study("sequence").runs()} == {"preserve"}
    assert {(run.epochs, run.init) for run in Study("sequence", epochs=3, init="data").runs()} == {(3, "data")}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"norms": ("none", "batch")}, "'batch' is not compared in sequence: choose from none, weight"),
        ({"rates": (0.1, 0.0)}, "positive, got 0.1 0"),
        ({"rates": ()}, "got none"),
        ({"rates": (math.nan,)}, "got nan"),
        ({"rates": (0.1, 1e38)}, r"at most 1e\+37, got 1e\+38"),
        ({"seeds": 0}, "got 0 and 0"),
        ({"epochs": -1}, "got 5 and -1"),
    ],
)
def test_a_study_without_meaning_is_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        Study("sequence", **wrong)
