import ale_py.roms
import gymnasium
import pytest

from envs import game_name, game_names, rom_id
from envs.games import settings_of_id


@pytest.mark.parametrize(
    ("name", "rom"),
    [
        ("Breakout", "breakout"),
        ("breakout", "breakout"),
        ("SpaceInvaders", "space_invaders"),
        ("space_invaders", "space_invaders"),
        ("Space Invaders", "space_invaders"),
        ("spaceinvaders", "space_invaders"),
        ("QBert", "qbert"),
        ("Qbert", "qbert"),
        ("JamesBond", "jamesbond"),
        ("UpNDown", "up_n_down"),
    ],
)
def test_rom_id_takes_any_spelling(name, rom):
    assert rom_id(name) == rom


@pytest.mark.parametrize(
    ("rom", "name"),
    [("space_invaders", "SpaceInvaders"), ("qbert", "Qbert"), ("up_n_down", "UpNDown"), ("Pong", "Pong")],
)
def test_game_name_is_gymnasiums(rom, name):
    assert game_name(rom) == name


def test_every_game_round_trips_and_has_a_rom():
    names = game_names()
    assert names == sorted(names)
    assert len(names) > 57
    assert [game_name(rom_id(name)) for name in names] == names
    assert {rom_id(name) for name in names} <= set(ale_py.roms.get_all_rom_ids())


@pytest.mark.parametrize("name", ["combat", "Joust", "Warlords", "JoustNoFrameskip-v4", "Maze Craze"])
def test_games_for_several_players_are_refused(name):
    with pytest.raises(ValueError, match=f"^{name} needs two players or more in ale-py, and here one plays"):
        rom_id(name)


def test_those_are_all_that_have_a_rom_and_no_id():
    refused = set(ale_py.roms.get_all_rom_ids()) - {rom_id(name) for name in game_names()}
    assert refused == {"combat", "joust", "maze_craze", "warlords"}


@pytest.mark.parametrize(
    ("id", "rom", "line"),
    [
        ("ALE/Pong-v5", "pong", "the game Pong: the id's own sticky actions (0.25) and frame skip (4) are not"),
        ("PongNoFrameskip-v4", "pong", "the game Pong: the id's own sticky actions (0) and frame skip (1) are not"),
        ("PongNoFrameskip-v0", "pong", "the game Pong: the id's own sticky actions (0.25) and frame skip (1) are not"),
        ("Pong-v4", "pong", "the game Pong: the id's own sticky actions (0) and frame skip (2 to 4, random) are not"),
        ("PongDeterministic-v4", "pong", "the game Pong: the id's own sticky actions and frame skip are not"),
        ("SpaceInvadersNoFrameskip-v4", "space_invaders", "the game SpaceInvaders: the id's own sticky actions (0)"),
    ],
)
def test_an_id_means_its_game_and_a_line_says_what_is_not_taken_over(id, rom, line):
    assert rom_id(id) == rom
    assert settings_of_id(id).startswith(f"{id} means {line}")
    assert "\n" not in settings_of_id(id)


@pytest.mark.parametrize("name", ["Pong", "pong", "SpaceInvaders", "space_invaders"])
def test_a_name_that_is_no_id_has_no_such_line(name):
    assert settings_of_id(name) is None


@pytest.mark.parametrize("name", ["CartPole-v1", "ALE/Brekout-v5", "Pong-ram-v4"])
def test_another_id_is_no_game(name):
    for function in (rom_id, settings_of_id):
        with pytest.raises(ValueError, match=f"^unknown game '{name}': "):
            function(name)


def test_every_id_of_the_emulator_means_the_game_that_it_plays():
    ids = [id for id, spec in gymnasium.registry.items() if str(spec.entry_point).startswith("ale_py")]
    assert len(ids) > 300
    assert all(rom_id(id) == gymnasium.registry[id].kwargs["game"] for id in ids)
    assert all(settings_of_id(id) for id in ids)


def test_an_unknown_game_names_the_nearest():
    with pytest.raises(ValueError, match=r"^unknown game 'Brekout': did you mean Breakout\?$"):
        rom_id("Brekout")
    with pytest.raises(ValueError, match=r"did you mean SpaceInvaders\b"):
        game_name("space_invader")
    with pytest.raises(ValueError, match=r"^unknown game 'zzzz': names of the \d+ games are as in ALE/Breakout-v5"):
        rom_id("zzzz")


def test_a_version_that_no_id_has_is_no_game():
    with pytest.raises(ValueError, match="unknown game 'Pong-v9'"):
        rom_id("Pong-v9")
