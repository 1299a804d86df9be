"""Whatever is wrong with a command line is one line on stderr and exit code 2, and nothing is made."""

import os
import re
import sys

import pytest

from tests.products import covering
from tests.scripts.processes import CHAIN, SCRIPTS, call, start, train

NORMS = "none, weight, mean-batch, batch, layer, layer-channels, projected, layer+projected, batch+projected, spectral "


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("train_dqn", "--env Pong-v5", "Pong-v5 is an Atari game: use --game Pong"),
        ("train_ppo", "--env ALE/Pong-v5", "ALE/Pong-v5 is an Atari game: use --game Pong"),
        ("train_dqn", "--env Chain --lr 1e-3", "there is no flag --lr: did you mean --learning-rate?"),
        ("train_sb3", "--env CartPole-v1 --sede 3", "there is no flag --sede: did you mean --seed?"),
        ("evaluate", "nowhere --episode 3", "there is no flag --episode: did you mean --episodes?"),
        ("train_dqn", "--env Chain --norm", f"--norm needs a value: {NORMS}or weight-clip"),
        ("train_dqn", "--env Chain --norm --seed 1", "--norm needs a value: none, weight, "),
        ("train_dqn", "--env Chain --steps 1.5", "--steps takes a whole number (1000000, 1e6 or 1M), got '1.5'"),
        ("train_dqn", "--env Chain --device cuda:99", "device 'cuda:99' is not available; this machine has cpu"),
        ("train_dqn", "--env Chain --hidden 64,64", "spaces between them (--hidden 64 64), got '64,64'"),
        ("train_dqn", "--env Chain --preset rainbw", "unknown preset 'rainbw' (nearest: rainbow): choose from fast, "),
        ("train_dqn", "--env Chain --resume", "--resume needs a value: the folder of the run, or auto"),
        ("train_dqn", "--resume --seed 1", "--resume needs a value: the folder of the run, or auto"),
        ("train_dqn", "--env Chain --config", "--config needs a value: the config.json of the run"),
        ("train_dqn", "--env Chain --resume auto", "--resume auto needs --run-dir DIR"),
        ("train_dqn", "--config nowhere/config.json", "there is no file nowhere/config.json: check the path"),
        ("train_dqn", "--env Chain --init-from nowhere", "init_from: nowhere has no model.safetensors to begin with"),
        ("evaluate", "nowhere --out here", "out here has no effect without video: leave it out"),
        ("train_dqn", f"--env Chain --run-dir {'x' * 300}", "File name too long"),
        ("train_dqn", f"--env Chain --resume {'x' * 300}", "is not the folder of a run"),
        ("evaluate", "x" * 300, "is not the folder of a run"),
    ],
)
def test_a_wrong_command_line(tmp_path, monkeypatch, script, arguments, said):
    monkeypatch.chdir(tmp_path)
    result = call(script, *arguments.split())
    assert (result.code, result.out) == (2, ""), result
    assert result.err.startswith(f"{script}.py: error: ")
    assert (result.err.count("\n"), said in result.err) == (1, True), result.err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "run"
    train(path, "--steps", 60, "--eval-interval", 0)
    return path


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("train_dqn", "--norm none", "--norm cannot change in a resumed run: it is weight, none was given"),
        ("train_dqn", "--noisy", "--noisy cannot change in a resumed run: it is False, True was given"),
        ("train_dqn", "--game Pong", "--game cannot change in a resumed run: it learns Chain, Pong was given"),
        ("train_dqn", "", "already: ask for more by --steps"),
        ("train_ppo", "", "run was made by train_dqn.py: continue with python scripts/train_dqn.py --resume"),
    ],
)
def test_what_a_resume_cannot_do(run_dir, script, arguments, said):
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    result = call(script, "--resume", run_dir, *arguments.split())
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1), result
    assert said in result.err
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("steps", ["6e1", "60", "0.06k", "6_0"])
def test_numbers_as_people_write_them(tmp_path, steps):
    result = call(
        "train_dqn", *CHAIN, "--num-envs", 3, "--eval-interval", 0, "--steps", steps, "--run-dir", tmp_path / "a"
    )
    assert (result.code, result.err) == (0, "")
    assert re.search("finished 6[0-2] steps", result.out)


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """Makes the package of another distribution, which is found before ours."""

    def make(name):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("import nothing_that_there_is\n")
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.syspath_prepend(tmp_path)
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("script", "name"), covering(sorted(path.stem for path in SCRIPTS.glob("*.py")), ["agents", "envs"])
)
def test_a_foreign_package_of_the_same_name(name, script, foreign, monkeypatch):
    folder = foreign(name)
    monkeypatch.syspath_prepend(SCRIPTS)  # where rate_study is
    result = call(script, "--help")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1), result
    said = f"{script}.py: error: {name!r} is {folder / name / '__init__.py'} here, not wnrl's package: install wnrl in "
    assert result.err.startswith(said)


def test_a_foreign_package_in_a_process_of_its_own(foreign, monkeypatch):
    folder = foreign("agents")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(SCRIPTS.parent)]))
    process = start("train_dqn", "--help")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("train_dqn.py: error: 'agents' is ")
