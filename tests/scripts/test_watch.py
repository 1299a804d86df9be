"""Real windows, on a display in memory (Xvfb), whose keys are pressed as by a keyboard."""

import ctypes
import os
import shutil
import signal
import subprocess
import time
from ctypes.util import find_library
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import ImageGrab

from agents.learner.network import make_network
from agents.watching.bars import CHOSEN
from tests.agents.training.chain_models import NETWORK, save
from tests.scripts.processes import call, start
from wnrl.normalizers.folding import fold

THERE = shutil.which("Xvfb") and find_library("Xtst") and find_spec("pygame")
needs_display = pytest.mark.skipif(
    not THERE, reason="needs Xvfb, a display in memory, libXtst, its keyboard, and pygame"
)


@pytest.fixture
def run_dir(tmp_path):
    """An untrained network on Breakout."""
    network = {**NETWORK, "obs_shape": [4, 84, 84], "num_actions": 4, "hidden": [8]}
    emulator = {"noop_max": 0, "max_frames": 2_000, "fire_reset": True}
    save(tmp_path, "model", fold(make_network(network)), network=network, game="Breakout", env=None, emulator=emulator)
    return tmp_path


@pytest.fixture
def display(monkeypatch):
    """The name of a display of its own."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "800x600x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as file:
        name = f":{file.readline().strip()}"
    monkeypatch.setenv("DISPLAY", name)
    for other in ("WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(other, raising=False)
    yield name
    server.terminate()
    server.wait()


def screen(display):
    return np.array(ImageGrab.grab(xdisplay=display))


def still(display):
    """Whether nothing moves for a second, in which a game has 15 pictures."""
    before = screen(display)
    time.sleep(1)
    return (screen(display) == before).all()


def press(display, key):
    """Press a key in the window under the pointer, as a keyboard does."""
    x11, test = (ctypes.CDLL(find_library(name)) for name in ("X11", "Xtst"))
    x11.XOpenDisplay.restype = ctypes.c_void_p
    connection = ctypes.c_void_p(x11.XOpenDisplay(display.encode()))
    code = x11.XKeysymToKeycode(connection, ctypes.c_ulong(ord(key)))
    for down in (1, 0):
        test.XTestFakeKeyEvent(connection, code, down, 0)
    x11.XCloseDisplay(connection)


def wait_for(condition, process):
    for _ in range(600):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError("nothing came")


@needs_display
@pytest.mark.slow
def test_a_game_in_a_window(run_dir, display):
    process = start("watch", run_dir, "--values", "--device", "cpu")
    try:
        wait_for(lambda: (screen(display) == CHOSEN).all(-1).sum() > 20, process)  # the bar of the action
        first = screen(display)
        assert (first == (200, 72, 72)).all(-1).sum() > 1_000  # red bricks of Breakout
        wait_for(lambda: (screen(display) != first).any(), process)  # it moves
        press(display, " ")
        wait_for(lambda: still(display), process)
        press(display, "n")
        stopped = screen(display)
        wait_for(lambda: (screen(display) != stopped).any(), process)
        wait_for(lambda: still(display), process)
        press(display, "q")
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "no game was played to its end\n", "")


@needs_display
@pytest.mark.slow
def test_a_signal_ends_it_as_it_ends_other_programs(run_dir, display):
    process = start("watch", run_dir, "--device", "cpu")
    try:
        wait_for(lambda: (screen(display) == (200, 72, 72)).all(-1).sum() > 1_000, process)
        process.terminate()
        assert process.wait(timeout=60) == -signal.SIGTERM
    finally:
        process.kill()
        process.communicate()


@needs_display
@pytest.mark.slow
def test_a_display_that_is_not_there_is_one_line(run_dir, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":9999")
    for other in ("WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(other, raising=False)
    out, err = (process := start("watch", run_dir, "--device", "cpu")).communicate(timeout=300)
    assert (process.returncode, out) == (2, "")
    assert err == "watch.py: error: there is no display that can be opened: x11 not available\n"


def test_no_display_and_no_run(run_dir, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("agents.watching.window.find_spec", lambda name: name)
    result = call("watch", run_dir)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert result.err.startswith("watch.py: error: there is no display: ")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    result = call("watch", "nowhere")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("watch.py: error: nowhere is not the folder of a run")
