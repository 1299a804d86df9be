"""The tables of presets on the site are those of the code, and every preset is there."""

import importlib
import pkgutil
import re
import sys

from agents.settings import presets
from agents.settings.presets.dqn.preset import ATARI, VECTOR
from tests.metadata import ROOT

sys.path.append(str(ROOT / "docs"))
from extension.preset_tables import FOLDER, constants, preset

PAGE = (ROOT / "docs" / "how-to" / "presets.md").read_text()
SHOWN = [tuple(found.split()) for found in re.findall(r"^```\{preset\} (.+)$", PAGE, flags=re.MULTILINE)]
ELSEWHERE = {("sb3", "GAME_RUN"), ("sb3", "_PPO"), ("sb3", "_REPLAY")}  # RL Zoo's: docs/stable-baselines3.md


def test_every_preset_is_on_the_page():
    modules = [found.name.removeprefix(f"{FOLDER}.") for found in pkgutil.walk_packages(presets.__path__, f"{FOLDER}.")]
    known = {(module, constant) for module in modules for constant in constants(module)}
    assert {("dqn.nature", "NATURE"), ("pqn", "PQN_VECTOR"), ("protocols", "MACHADO")} <= known
    assert known - ELSEWHERE == set(SHOWN)
    assert len(SHOWN) == len(set(SHOWN))
    of_dqn = [getattr(importlib.import_module(f"{FOLDER}.{module}"), constant) for module, constant in SHOWN]
    assert all(any(values is one for one in of_dqn) for values in (*ATARI.values(), *VECTOR.values()))


def test_a_table_has_all_own_values():
    for module, constant in SHOWN:
        values = getattr(importlib.import_module(f"{FOLDER}.{module}"), constant)
        found = preset(module, constant)
        own = {row.flag.replace("-", "_") for row in found.rows}
        assert own <= values.keys()
        assert own == values.keys() or found.bases, constant


def test_values_and_sources():
    rows = {row.flag: row for row in preset("dqn.nature", "NATURE").rows}
    assert rows["steps"] == ("steps", "50_000_000", "200 million frames")
    assert rows["target-interval"].source.startswith('"Target network update frequency" 10,000')
    assert rows["target-interval"].source.endswith("every 10,000 steps.")
    assert rows["tau"].source == ""
    btr = {row.flag: row for row in preset("dqn.btr", "BTR").rows}
    assert btr["num-envs"].source == "Learning; envs"


def test_what_holds_for_the_whole_preset():
    assert preset("dqn.nature", "NATURE").source.startswith("Mnih et al. 2015")
    assert preset("pqn", "PQN_ATARI").source.startswith("Gallici et al. 2024")
    c51 = preset("dqn.c51", "C51")
    assert (c51.bases, c51.without) == (("NATURE",), ("huber-delta",))
    assert preset("dqn.rainbow", "RAINBOW_ATARI").bases == ("FAST_ATARI", "RAINBOW")
