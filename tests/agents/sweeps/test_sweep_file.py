"""agents.sweeps.sweep_file"""

import pytest

from agents.sweeps.plan import Override
from agents.sweeps.sweep_file import read_sweep_file, toml_of

KNOWN = {"agents", "envs", "seeds", "steps"}


def read(tmp_path, text):
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    return read_sweep_file(path, KNOWN)


def test_flags_axes_and_overrides(tmp_path):
    found = read(
        tmp_path,
        'agents = ["dqn", "ppo"]\nseeds = 3\n[axes]\ngamma = 0.9\nhidden = [[64, 64], [32]]\ndouble = [true, false]\n'
        '[[override]]\nagent = "dqn"\nlearning_rate = 1e-3\n',
    )
    assert found.flags == {"agents": ("dqn", "ppo"), "seeds": 3}
    assert found.axes == {"gamma": (0.9,), "hidden": ((64, 64), (32,)), "double": (True, False)}
    assert found.overrides == (Override({"agent": ("dqn",)}, {"learning_rate": 1e-3}),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("agents = [\nseeds", "sweep.toml is no TOML: .*line 2"),
        ("seeds = 3\nsteps = 1\nagent = 1", r"sweep.toml:3: there is no 'agent': did you mean agents\?"),
        ("learning_rate = 1", r"sweep.toml:1: there is no 'learning_rate': settings of the runs belong under \[axes\]"),
        ("seeds = 1\naxes = 3", "sweep.toml:2: axes must be a table"),
        ("[override]\nagent = 1", r"sweep.toml:1: overrides must be tables, each begun by \[\[override\]\]"),
        ("[[override]]\ngamma = 1", "sweep.toml:1: an override needs one of"),
        (
            'seeds = 1\n[[override]]\nnorm = "none"\ntau = 1\n[[ override ]] # 2\nnorm = 3\ntau = 1',
            "sweep.toml:5: norm in an override must be a name or a list of names, got 3",
        ),
        ("override = [{agent = true, tau = 1}]", "sweep.toml:1: agent in an override must be a name or a list .*True"),
        ("[[override]]\nnorm = []\ntau = 1", r"sweep.toml:1: norm in an override must be .*got \[\]"),
        ('[[override]]\nnorm = "a"\n[override.tau]\nx = 1', "sweep.toml:1: tau in an override must be a value or a"),
        ("seeds = [[1]]", "sweep.toml:1: seeds must be a value or a list of values"),
    ],
)
def test_what_is_refused(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        read(tmp_path, text)


def test_unreadable_files(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*none.toml: check the path"):
        read_sweep_file(tmp_path / "none.toml", KNOWN)
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"bytes.toml cannot be read"):
        read_sweep_file(tmp_path / "bytes.toml", KNOWN)


def test_overrides_round_trip(tmp_path):
    overrides = (
        Override({"agent": ("dqn",), "norm": ("none", "layer")}, {"learning_rate": "1e-3", "double": True, "tau": 0.5}),
        Override({"env": ('a"b\\c',)}, {"hidden": (64, 64)}),
    )
    read_again = read(tmp_path, toml_of(overrides)).overrides
    assert read_again == (overrides[0], Override({"env": ('a"b\\c',)}, {"hidden": [64, 64]}))
