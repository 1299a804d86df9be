import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from agents.registry import AGENTS
from agents.settings.flat import from_flat
from agents.settings.run import TrainSettings
from agents.training import trackers
from agents.training.run import Run
from agents.training.trackers import check_tracking, in_order, open_tracker, record_settings

DQN = AGENTS["dqn"]
CHAIN = {"env": "Chain", "hidden": (4,), "device": "cpu", "num_envs": 1, "steps": 4, "eval_interval": 0}


def settings_of(**values):
    return from_flat(TrainSettings[DQN.settings], {**CHAIN, **values})


class Notes:
    """A tracker that writes down what it gets."""

    def __init__(self, folder=None):
        self.folder, self.notes = folder, []

    def __getattr__(self, name):
        return lambda *arguments: self.notes.append((name, *arguments))


def test_settings_are_recorded_next_to_those_of_the_preset():
    notes = Notes()
    record_settings(notes, DQN, settings_of(gamma=0.5), "vector")
    ((name, values, defaults),) = notes.notes
    assert name == "settings"
    assert values.keys() == defaults.keys() - {"run_dir", "resume", "config"}
    assert [*values][:5] == ["norm", "learning_rate", "seed", "agent", "env"]
    assert not {"run_dir", "resume"} & values.keys()
    assert (values["agent"], values["gamma"], values["env"]) == ("dqn", 0.5, "Chain")
    assert (defaults["agent"], defaults["gamma"], defaults["hidden"]) == ("dqn", 0.99, [256, 256])


def test_settings_are_in_the_order_in_which_runs_are_compared():
    values = {"a": 1, "seed": 3, "game": "Pong", "env": None, "run_dir": "x", "norm": "none"}
    assert list(in_order(values)) == ["norm", "seed", "game", "a", "env"]
    assert list(in_order({**values, "game": None}))[:3] == ["norm", "seed", "env"]


def test_a_run_records_its_settings_once(tmp_path):
    run_dir = tmp_path / "run"
    with Run(DQN, settings_of(run_dir=run_dir)) as run:
        run.learn()
    with Run(DQN, settings_of(run_dir=run_dir, resume=run_dir, steps=6)) as run:
        run.learn()
    (event,) = EventAccumulator(str(run_dir)).Reload().Tensors("settings/text_summary")
    (text,) = event.tensor_proto.string_val
    assert "| env | Chain | None |" in text.decode().splitlines()


def test_wandb_gets_everything_besides(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(trackers, "WandbTracker", lambda folder: made.append(Notes(folder)) or made[-1])
    tracker = open_tracker(settings_of(wandb=True), tmp_path, None, print)
    tracker.write(1, {"a": 2.0})
    tracker.close()
    assert made[0].folder == tmp_path
    assert made[0].notes == [("write", 1, {"a": 2.0}), ("close",)]
    assert (tmp_path / "progress.csv").read_text().split() == ["step,a", "1,2.0"]
    open_tracker(settings_of(), tmp_path, None, print).close()
    assert len(made) == 1


@pytest.mark.parametrize("keep", [True, False])
def test_without_wandb_nothing_is_made(keep, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="wandb is not installed"):
        Run(DQN, settings_of(wandb=True, run_dir=tmp_path / "run"), keep=keep)
    assert list(tmp_path.iterdir()) == []


def test_wandb_needs_a_folder(monkeypatch):
    monkeypatch.setattr(trackers, "check_wandb", lambda: None)
    check_tracking(settings_of(wandb=True), keep=True)
    with pytest.raises(ValueError, match="needs the folder of a run"):
        check_tracking(settings_of(wandb=True), keep=False)
    check_tracking(settings_of(), keep=False)
