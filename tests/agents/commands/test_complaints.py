"""agents.commands.complaints, through `read`, which has tyro's message."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import tyro

from agents.commands.parser import read
from agents.registry import AGENTS
from agents.settings.flat import from_flat
from agents.settings.network import NORMS
from agents.settings.run import TrainSettings

KIND = TrainSettings[AGENTS["dqn"].settings]
INIT = "--init takes preserve, data, lsuv, within-layer, analytic or he"
APART = "whole numbers with spaces between them"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--lr 3", "there is no flag --lr: did you mean --learning-rate?"),
        ("--lr=3", "there is no flag --lr: did you mean --learning-rate?"),
        ("--learning-rat 3", "there is no flag --learning-rat: did you mean --learning-rate?"),
        ("--n-envs 3", "there is no flag --n-envs: did you mean --num-envs?"),
        ("--nosy", "there is no flag --nosy: did you mean --noisy?"),
        ("--no-nosy", "there is no flag --no-nosy: did you mean --no-noisy?"),
        ("--no-norms", "there is no flag --no-norms: did you mean --norm?"),
        ("-seed 3", "there is no flag -seed: did you mean --seed?"),
        ("--xyzzy 1", "there is no flag --xyzzy: --help lists them all"),
        ("--double True", "--double takes no value, got True: give --double or --no-double"),
        ("--no-double 1", "--no-double takes no value, got 1: give --double or --no-double"),
        ("--seed 1 extra", "nothing takes 'extra' after 1"),
        ("extra", "nothing takes 'extra' after Chain"),
        ("--norm", f"--norm needs a value: {', '.join(NORMS[:-1])} or {NORMS[-1]}"),
        ("--norm --seed 3", f"--norm needs a value: {', '.join(NORMS[:-1])} or {NORMS[-1]}"),
        ("--init", "--init needs a value: preserve, data, lsuv, within-layer, analytic or he"),
        ("--init lsvu", f"{INIT}, got 'lsvu': did you mean lsuv?"),
        ("--init=orthogonal", f"{INIT}, got 'orthogonal'"),
        ("--steps", "--steps needs a value"),
        ("--steps 1.5", "--steps takes a whole number (1000000, 1e6 or 1M), got '1.5'"),
        ("--steps abc", "--steps takes a whole number (1000000, 1e6 or 1M), got 'abc'"),
        ("--hidden 64,64", f"--hidden takes {APART} (--hidden 64 64), got '64,64'"),
        ("--hidden=[64,32]", f"--hidden takes {APART} (--hidden 64 32), got '[64, 32]'"),
        ("--hidden 64, 64", f"--hidden takes {APART} (--hidden 64 64), got '64, 64'"),
        ("--hidden 64 wide", f"--hidden takes {APART} (--hidden 64 64, for example), got '64 wide'"),
        ("--resize 84x96", f"--resize takes {APART} (--resize 84 96), got '84x96'"),
        ("--stack x", "--stack takes a whole number (1000000, 1e6 or 1M) or None, got 'x'"),
        ("--learning-rate x", "--learning-rate takes a number, got 'x'"),
    ],
)
def test_what_is_wrong_and_what_to_do(arguments, said):
    with pytest.raises(ValueError, match=r".") as refusal:
        read(KIND, "A program.", ["--env", "Chain", *arguments.split()], from_flat(KIND))
    assert str(refusal.value) == said


def test_other_messages_of_tyro_lose_their_box():
    @dataclass(frozen=True)
    class Plain:
        size: int

    with pytest.raises(ValueError, match="--size") as refusal:
        read(Plain, "A program.", [])
    assert not set("│╭╮╰╯─\n") & set(str(refusal.value))


def test_numbers_that_need_not_be_whole():
    @dataclass(frozen=True)
    class Plain:
        shares: tuple[float, ...] = (0.5,)
        share: float | None = None

    with pytest.raises(
        ValueError, match=r"^--shares takes numbers with spaces .* \(--shares 0.5 0.9\), got '0.5, ?0.9'$"
    ):
        read(Plain, "A program.", ["--shares", "0.5,0.9"])
    with pytest.raises(ValueError, match=r"^--share takes a number or None, got 'x'$"):
        read(Plain, "A program.", ["--share", "x"])


def test_flags_of_a_subcommand_have_no_list_to_compare_with():
    @dataclass(frozen=True)
    class One:
        count: int = 3

    @dataclass(frozen=True)
    class Two:
        size: int = 3

    with pytest.raises(ValueError, match=r"^there is no flag --cont: --help lists them all$"):
        read(One | Two, "A program.", ["one", "--cont", "3"])
    with pytest.raises(ValueError, match=r"^name one of one or two$"):
        read(One | Two, "A program.", [])
    with pytest.raises(ValueError, match=r"^there is no three: name one of one or two$"):
        read(One | Two, "A program.", ["three"])


def test_an_argument_without_a_flag_is_missing():
    @dataclass(frozen=True)
    class Plain:
        path: tyro.conf.Positional[Path]
        """Folder of the run."""

    with pytest.raises(ValueError, match=r"^name PATH: folder of the run$"):
        read(Plain, "A program.", [])
