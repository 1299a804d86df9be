import sys
import types

import pytest

from wnrl.tracking.wandb_tracker import WandbTracker, check_wandb


class FakeRun:
    """Writes down what is sent."""

    def __init__(self, **options):
        self.options, self.id = options, options["id"] or "abc123"
        self.logged, self.metrics, self.summary, self.finished = [], [], {}, False
        self.config = types.SimpleNamespace(values={}, update=self._update)

    def _update(self, values, allow_val_change=False):
        assert allow_val_change  # of a resumed run's length, for example
        self.config.values.update(values)

    def define_metric(self, name, **options):
        self.metrics.append((name, options))

    def log(self, values):
        self.logged.append(values)

    def finish(self):
        self.finished = True


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """The runs that a wandb which sends nothing has begun."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "wandb.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    begun = []

    def init(**options):
        begun.append(FakeRun(**options))
        return begun[-1]

    import wandb

    monkeypatch.setattr(wandb, "init", init, raising=False)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    yield begun
    sys.modules.pop("wandb", None)


def test_what_is_sent(runs, tmp_path):
    folder = tmp_path / "Breakout-dqn"
    folder.mkdir()
    tracker = WandbTracker(folder)
    tracker.settings({"gamma": 0.99}, {"gamma": 0.9})
    tracker.text("conditions", "no sticky actions")
    tracker.write(10, {"train/loss": 0.5})
    tracker.write(10, {"eval/mean_reward": 3.0})
    tracker.close()
    (run,) = runs
    assert run.options == {
        **{"project": "wnrl", "name": "Breakout-dqn", "dir": str(folder)},
        **{"id": None, "resume": "allow"},
    }
    assert run.metrics == [("step", {}), ("*", {"step_metric": "step"})]
    assert run.logged == [{"train/loss": 0.5, "step": 10}, {"eval/mean_reward": 3.0, "step": 10}]
    assert run.config.values == {"gamma": 0.99}
    assert run.summary == {"conditions": "no sticky actions"}
    assert run.finished


def test_a_resumed_run_goes_on_with_its_id_and_another_of_the_same_name_does_not(runs, tmp_path):
    for parent in ("a", "b"):
        (tmp_path / parent / "run").mkdir(parents=True)
    WandbTracker(tmp_path / "a" / "run")
    WandbTracker(tmp_path / "a" / "run")
    WandbTracker(tmp_path / "b" / "run")
    assert [run.options["id"] for run in runs] == [None, "abc123", None]


def test_the_project_can_be_chosen(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    WandbTracker(tmp_path)
    assert runs[0].options["project"] == "mine"


def test_without_wandb_one_line_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"wandb is not installed: python -m pip install wandb, or leave --wandb out"):
        check_wandb()


def test_the_folder_that_wandb_leaves_behind_is_not_taken_for_it(monkeypatch, tmp_path):
    (tmp_path / "wandb").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    real = sys.modules.pop("wandb", None)
    try:
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        with pytest.raises(ValueError, match="not installed"):
            WandbTracker(tmp_path)
    finally:
        if real is not None:
            sys.modules["wandb"] = real
    assert [path.name for path in tmp_path.iterdir()] == ["wandb"]
