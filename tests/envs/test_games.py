import ale_py.roms
import pytest

from envs import game_name, game_names, rom_id


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


def test_games_for_two_players_are_left_out():
    assert "combat" in ale_py.roms.get_all_rom_ids()
    with pytest.raises(ValueError, match="unknown game 'combat'"):
        rom_id("combat")


def test_an_unknown_game_names_the_nearest():
    with pytest.raises(ValueError, match=r"^unknown game 'Brekout': did you mean Breakout\?$"):
        rom_id("Brekout")
    with pytest.raises(ValueError, match=r"did you mean SpaceInvaders\b"):
        game_name("space_invader")
    with pytest.raises(ValueError, match=r"^unknown game 'zzzz': names of the \d+ games are as in ALE/Breakout-v5"):
        rom_id("zzzz")
