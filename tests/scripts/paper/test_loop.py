"""scripts/paper/loop.py: the training loop of the paper's experiments."""

import math

import pytest
import torch
from paper.loop import Loop, PaperRun, Stopped, train

from tests.scripts.paper.toy import Toy, ToySettings, stop_after
from wnrl.checkpoints.checkpoints import Checkpoints
from wnrl.tracking.csv_table import read_rows


def run_in(folder, norm="weight", seed=0, **options):
    return PaperRun(ToySettings(out=folder, epochs=4, batch_size=10, seeds=1, **options), norm, seed)


def rows_of(run):
    rows = read_rows(run.folder / "progress.csv").rows
    return [{name: cell for name, cell in row.items() if name != "time/seconds"} for row in rows]


def weights(run):
    return Checkpoints(run.folder / "checkpoints").latest()[1]["network"]


def test_a_run_leaves_a_row_per_epoch_events_and_a_checkpoint(tmp_path):
    run = train(run_in(tmp_path))
    rows = rows_of(run)
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert {"train/loss", "train/bias", "test/error", "train/learning_rate"} <= {*rows[0]}
    assert [float(row["train/learning_rate"]) for row in rows] == pytest.approx([0.01, 0.005, 0.01 / 3, 0.0025])
    assert float(rows[-1]["test/error"]) < float(rows[0]["test/error"])
    assert len({row["test/drawn"] for row in rows}) == 4
    assert list(run.folder.glob("events.out.tfevents.*"))
    assert Checkpoints(run.folder / "checkpoints").latest()[0] == 16


@pytest.mark.parametrize("updates", [3, 4, 10])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(updates, tmp_path, monkeypatch):
    whole = train(run_in(tmp_path / "whole"))
    stopped = run_in(tmp_path / "stopped")
    with monkeypatch.context() as patch:
        stop_after(patch, updates)
        with pytest.raises(Stopped) as stop:
            train(stopped)
    assert stop.value.args == (143,)
    assert len(rows_of(stopped)) == updates // 4
    torch.rand(7)  # the caller's numbers are not the run's
    train(stopped)
    assert rows_of(stopped) == rows_of(whole)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(stopped)[name])


def test_a_run_that_has_ended_is_not_trained_again(tmp_path, monkeypatch):
    run = train(run_in(tmp_path))
    made = stop_after(monkeypatch, -1)
    train(run)
    assert made == []
    assert len(rows_of(run)) == 4


def test_norms_share_first_weights_and_minibatches_and_seeds_do_not(tmp_path, monkeypatch):
    made = stop_after(monkeypatch, -1)
    seen = {}
    for norm, seed in (("none", 0), ("weight", 0), ("none", 1)):
        run = run_in(tmp_path, norm, seed)
        made.clear()
        loop = Loop(Toy(0.01), run)
        seen[norm, seed] = loop.network(torch.ones(1, 3)) if loop.network.eval() else None
        train(run)
        seen[norm, seed] = (seen[norm, seed], torch.stack(made))
    assert torch.allclose(seen["none", 0][0], seen["weight", 0][0], atol=1e-5)
    assert torch.equal(seen["none", 0][1], seen["weight", 0][1])
    assert not torch.allclose(seen["none", 0][0], seen["none", 1][0], atol=1e-3)
    assert not torch.equal(seen["none", 0][1], seen["none", 1][1])
    orders = seen["none", 0][1].view(4, 40)
    assert all(sorted(order.tolist()) == list(range(40)) for order in orders)
    assert not torch.equal(orders[0], orders[1])


def test_a_run_whose_loss_is_not_finite_ends(tmp_path):
    run = train(run_in(tmp_path, rate=math.inf))
    assert [row["step"] for row in rows_of(run)] == ["1"]
    assert train(run) == run


def test_another_run_in_the_folder_is_refused(tmp_path):
    train(run_in(tmp_path))
    with pytest.raises(ValueError, match=r"weight-s0 holds a run with --rate 0.01, not 0.02: choose another --out"):
        train(run_in(tmp_path, rate=0.02))
    train(run_in(tmp_path, jobs=2, norms=("weight",)))


def test_a_run_that_left_no_checkpoint_begins_again(tmp_path, monkeypatch):
    run = run_in(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", lambda self, step, state: None)
        train(run)
    train(run)
    assert len(rows_of(run)) == 4
    assert (run.folder / "unfinished" / "progress.csv").exists()


def test_too_few_examples_are_refused(tmp_path):
    run = PaperRun(ToySettings(out=tmp_path, batch_size=50), "none", 0)
    with pytest.raises(ValueError, match="40 examples are fewer than --batch-size 50"):
        train(run)


def test_the_callers_random_numbers_stay(tmp_path):
    before = torch.get_rng_state()
    train(run_in(tmp_path))
    assert torch.equal(torch.get_rng_state(), before)
