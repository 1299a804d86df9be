from pathlib import Path

import pytest

from agents.settings.trust import check_most, check_trusted, needs_trust


@pytest.mark.parametrize(
    ("env", "kwargs", "needed"),
    [
        (None, {}, False),
        ("CartPole-v1", {}, False),
        ("phys2d/CartPole-v1", {"sutton_barto_reward": True, "size": [1, 2]}, False),
        ("python:Maze", {}, False),  # nothing is imported by that name
        ("my_module:Maze-v0", {}, True),
        ("a.b:Maze-v0", {}, True),
        ("GymV26Environment-v0", {}, True),  # makes an id of an earlier library
        ("Maze-v0", {"env_id": "my_module:Maze-v0"}, True),
    ],
)
def test_what_imports_a_module_needs_trust(env, kwargs, needed):
    assert needs_trust(env, kwargs) is needed


def test_the_refusal_says_what_would_happen_and_what_to_do():
    with pytest.raises(ValueError, match=r"^runs/a learned in evil:X-v0, .* runs its code: add --trust"):
        check_trusted(Path("runs/a"), "evil:X-v0")
    check_trusted(Path("runs/a"), "X-v0")


def test_a_size_far_above_what_is_used_is_named():
    check_most(Path("a.json"), {"num_envs": 2**14, "batch_size": 32, "steps": 10**12})
    with pytest.raises(ValueError, match=r"^a.json has num_envs 1,000,000,000: add --trust if you know why$"):
        check_most(Path("a.json"), {"num_envs": 10**9})
