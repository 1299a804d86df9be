"""agents.settings.earlier; runs of earlier commits themselves are continued in tests/scripts/test_earlier_runs.py."""

import json
from pathlib import Path

import pytest

from agents.registry import AGENTS
from agents.settings import earlier
from agents.settings.earlier import EARLIER, FORMAT, MIGRATIONS, migrated
from agents.settings.flat import flat_defaults, from_flat, to_flat
from agents.settings.run import TrainSettings

RUNS = Path(__file__).parents[2] / "scripts" / "earlier_runs"
NAMES = {name: flat_defaults(TrainSettings[spec.settings]).keys() for name, spec in AGENTS.items()}


def stored(agent):
    """What a `config.json` of this version has."""
    return to_flat(from_flat(TrainSettings[AGENTS[agent].settings], env="Chain", norm="weight"))


def test_there_is_a_migration_from_every_format():
    assert len(MIGRATIONS) == FORMAT


@pytest.mark.parametrize("agent", AGENTS)
def test_settings_of_this_version_are_as_they_are(agent):
    assert migrated(stored(agent), FORMAT, NAMES[agent]) == stored(agent)


@pytest.mark.parametrize("agent", AGENTS)
def test_what_is_missing_has_the_value_that_means_what_the_code_did(agent):
    older = {name: value for name, value in stored(agent).items() if name not in EARLIER}
    assert migrated(older, 0, NAMES[agent]) == {
        **older, **{name: value for name, value in EARLIER.items() if name in NAMES[agent]}
    }  # fmt: skip


def test_a_value_that_is_there_stays():
    assert migrated({**stored("dqn"), "overlap": False, "policy_taus": 3}, 0, NAMES["dqn"])["policy_taus"] == 3
    assert EARLIER["policy_taus"] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("graphs", None),
        ("env_groups", 1),
        ("overlap", True),
        ("compile", False),
        ("norm_layers", "auto"),
        ("stack", None),
        ("config", None),
    ],
)
def test_how_the_machine_is_used_strands_no_run(name, value):
    settings = migrated({key: one for key, one in stored("dqn").items() if key != name}, 0, NAMES["dqn"])
    assert settings[name] == value


def test_what_no_version_has_or_none_can_know_is_named():
    with pytest.raises(ValueError, match="this version has no settings faster, pace"):
        migrated({**stored("dqn"), "pace": 1, "faster": 2}, FORMAT, NAMES["dqn"])
    with pytest.raises(ValueError, match="it has no settings gamma, seed"):
        migrated({key: value for key, value in stored("dqn").items() if key not in ("seed", "gamma")}, 0, NAMES["dqn"])
    with pytest.raises(ValueError, match=f"format {FORMAT + 1}, later than this version's {FORMAT}"):
        migrated(stored("dqn"), FORMAT + 1, NAMES["dqn"])


@pytest.mark.parametrize(
    ("agent", "norm", "refused"),
    [("ppo", "batch", True), ("ppo", "weight", False), ("dqn", "batch", False), ("pqn", "batch", False)],
)
def test_batch_statistics_that_no_version_has_now_are_refused_where_they_were_learned_with(agent, norm, refused):
    older = {**stored(agent), "norm": norm}
    older.pop("batch_statistics", None)
    if refused:
        with pytest.raises(ValueError, match="learned with other batch statistics than it acted with"):
            migrated(older, 0, NAMES[agent])
    else:
        migrated(older, 0, NAMES[agent])
    migrated(older, 1, NAMES[agent])  # format 1 has always had them


def test_migrations_are_made_one_after_the_other(monkeypatch):
    def renames(settings):
        settings["gamma"] = settings.pop("discount")

    def doubles(settings):
        settings["gamma"] *= 2

    monkeypatch.setattr(earlier, "MIGRATIONS", (renames, doubles))
    monkeypatch.setattr(earlier, "FORMAT", 2)
    settings = stored("dqn")
    first = {**{name: value for name, value in settings.items() if name != "gamma"}, "discount": 0.25}
    assert migrated(first, 0, NAMES["dqn"])["gamma"] == 0.5
    assert migrated({**settings, "gamma": 0.25}, 1, NAMES["dqn"])["gamma"] == 0.5
    assert migrated({**settings, "gamma": 0.25}, 2, NAMES["dqn"])["gamma"] == 0.25
    assert "discount" in first  # what was read is not changed


@pytest.mark.parametrize("path", sorted(RUNS.iterdir()), ids=lambda path: path.name)
def test_settings_of_earlier_commits_are_read(path):
    config = json.loads((path / "config.json").read_text())
    settings = migrated(config["settings"], config.get("format", 0), NAMES[config["agent"]])
    assert config["settings"].items() <= settings.items()
