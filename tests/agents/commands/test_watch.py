"""`wnrl watch`, in a window that is in memory; `tests/scripts/test_watch.py` opens real ones."""

import math
import sys
from importlib.util import find_spec

import pytest

from agents.commands import watch as module
from agents.commands.watch import WatchSettings, main
from agents.training import saved_model
from envs import Chain
from tests.agents.environments import Clockwork, Coloured
from tests.agents.training.chain_models import actor_model, chain_model, save
from tests.agents.watching.test_spectator import Seen

needs_pygame = pytest.mark.skipif(find_spec("pygame") is None, reason="needs pygame, which opens windows")


class FakeWindow(Seen):
    """A window that keeps what it is shown, and may be closed at a row."""

    made = None

    def __init__(self, title, fps, speed, closes_at=10**9):
        super().__init__()
        self.title, self.fps, self.speed, self.closes_at = title, fps, speed, closes_at
        self.ended = False
        FakeWindow.made = self

    @property
    def closed(self):
        return len(self.pictures) >= self.closes_at

    def close(self):
        self.ended = True


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr(saved_model, "make", lambda **options: Coloured(7, obs_shape=(5,)))
    save(tmp_path / "run", "model", chain_model(right=True))
    return tmp_path / "run"


@pytest.fixture
def windowless(monkeypatch):
    monkeypatch.setattr(module, "check_display", lambda: None)
    monkeypatch.setattr(module, "Window", FakeWindow)


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["watch.py", *map(str, arguments), "--device", "cpu"])
    return main("Watch")


def refused(monkeypatch, capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, *arguments)
    captured = capsys.readouterr()
    assert (end.value.code, captured.out, captured.err.count("\n")) == (2, "", 1)
    return captured.err


@pytest.mark.usefixtures("windowless")
def test_all_games_are_shown_and_their_scores_printed(run_dir, monkeypatch, capsys):
    assert call(monkeypatch, run_dir, "--episodes", 3, "--speed", "0.5") == 0
    window = FakeWindow.made
    assert (window.title, window.fps, window.speed, window.ended) == ("Chain", 15, 0.5, True)
    assert [picture[0, 0, 0] for picture in window.pictures] == [20 * step for step in range(8)] * 3
    assert {picture.shape for picture in window.pictures} == {(420, 320, 3)}  # large enough to look at
    assert window.texts[-1] == "game 3, score 7"
    assert capsys.readouterr().out == (
        "Chain: 7.0 ± 0.0 over 3 whole games (epsilon 0, model.safetensors of step 12,000)\n"
    )


@pytest.mark.usefixtures("windowless")
def test_values_stand_beside_the_picture(run_dir, monkeypatch):
    assert call(monkeypatch, run_dir, "--episodes", 1, "--values", "--speed", "max") == 0
    assert {picture.shape for picture in FakeWindow.made.pictures} == {(420, 580, 3)}
    assert FakeWindow.made.speed == math.inf


@pytest.mark.usefixtures("windowless")
@pytest.mark.parametrize(
    ("closes_at", "said"), [(3, "no game was played to its end"), (20, "Chain: 7.0 ± 0.0 over 2 whole games")]
)
def test_a_window_that_is_closed_ends_it(run_dir, monkeypatch, capsys, closes_at, said):
    monkeypatch.setattr(module, "Window", lambda *arguments: FakeWindow(*arguments, closes_at))
    assert call(monkeypatch, run_dir) == 0
    assert len(FakeWindow.made.pictures) <= closes_at + 1
    assert FakeWindow.made.ended
    assert capsys.readouterr().out.startswith(said)


@pytest.mark.usefixtures("windowless")
def test_the_model_plays_as_it_is_asked_to(run_dir, monkeypatch, capsys):
    monkeypatch.setattr(saved_model, "make", lambda **options: Shown(max_steps=7))
    monkeypatch.setattr(FakeWindow, "show", lambda self, picture, text: None)
    description, network = actor_model()
    save(run_dir, "model", network, network=description, play={"sample": True})
    save(run_dir, "best", chain_model(right=False), step=5)
    for flags in ([], ["--no-greedy"], ["--greedy"], ["--seed", 1], ["--model", "best"], ["--epsilon", 1]):
        assert call(monkeypatch, run_dir, "--episodes", 20, *flags) == 0
    sampled, again, greedy, other, best, random = capsys.readouterr().out.splitlines()
    assert sampled == again
    assert "actions sampled" in sampled
    assert greedy.startswith("Chain: 1.0 ± 0.0")
    assert other.split()[1:4] != sampled.split()[1:4]
    assert "best.safetensors of step 5" in best
    assert "epsilon 1," in random


class Shown(Chain):
    """A chain with a picture."""

    render = Coloured.render
    elapsed = property(lambda self: self._elapsed)


@pytest.mark.usefixtures("windowless")
def test_what_cannot_be_watched_is_one_line(run_dir, tmp_path, monkeypatch, capsys):
    assert "nowhere is not the folder of a run" in refused(monkeypatch, capsys, "nowhere")
    assert "has no best.safetensors yet" in refused(monkeypatch, capsys, run_dir, "--model", "best")
    assert "speed must be from 0.01 to 100, or max, got fast" in refused(
        monkeypatch, capsys, run_dir, "--speed", "fast"
    )
    assert "speed must be from" in refused(monkeypatch, capsys, run_dir, "--speed", "nan")
    assert "episodes must be at least 1" in refused(monkeypatch, capsys, run_dir, "--episodes", 0)
    assert "no-greedy samples" in refused(monkeypatch, capsys, run_dir, "--no-greedy")
    monkeypatch.setattr(saved_model, "make", lambda **options: Clockwork(7, obs_shape=(5,)))
    assert "nothing to show: Clockwork has no picture" in refused(monkeypatch, capsys, run_dir)
    assert FakeWindow.made.ended
    (run_dir / "model.safetensors").write_bytes(b"nonsense")
    assert "damaged or not written by wnrl" in refused(monkeypatch, capsys, run_dir)


@pytest.mark.usefixtures("windowless")
def test_an_interrupt_closes_the_window(run_dir, monkeypatch):
    def interrupted(self, picture, text=""):
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeWindow, "show", interrupted)
    assert call(monkeypatch, run_dir) == 130
    assert FakeWindow.made.ended


def test_a_machine_without_a_display_says_so_before_a_model_is_read(run_dir, monkeypatch, capsys):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("agents.watching.window.find_spec", lambda name: name)
    monkeypatch.setattr(saved_model, "read_saved_model", None)
    assert "there is no display: " in refused(monkeypatch, capsys, run_dir)


def test_the_help_names_the_keys(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, "--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "space: pause, N: one step, + and -: faster and slower, Q: quit" in text


def test_speeds(monkeypatch):
    monkeypatch.setattr(module, "check_display", lambda: None)
    assert [float(WatchSettings("run", speed=text).factor) for text in ("0.25", "16", "max")] == [0.25, 16, math.inf]


@needs_pygame
def test_a_game_in_a_window_in_memory(run_dir, monkeypatch, capsys):
    assert call(monkeypatch, run_dir, "--episodes", 2, "--values", "--speed", "max") == 0
    assert capsys.readouterr().out.startswith("Chain: 7.0 ± 0.0 over 2 whole games")
