"""wnrl.sb3.contrib: the algorithms of sb3-contrib, or how to get them."""

import subprocess
import sys

MODULES = ("crossq", "ppo_mask", "ppo_recurrent", "qrdqn", "tqc", "trpo")


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_holds_the_algorithms():
    import sb3_contrib

    from wnrl.sb3 import contrib

    assert set(contrib.__all__) == set(MODULES)
    assert all(getattr(contrib, name) is getattr(sb3_contrib, name) for name in MODULES)


ATTEMPTS = f"""
import importlib, sys
sys.modules["sb3_contrib"] = None  # as if it were not installed
import wnrl.sb3.dqn, wnrl.sb3.ppo
for name in {MODULES}:
    try:
        importlib.import_module("wnrl.sb3." + name)
    except ImportError as error:
        print(error)
"""


def test_without_sb3_contrib_the_error_says_how_to_get_it():
    done = python(ATTEMPTS)
    assert done.returncode == 0, done.stderr
    message = 'this policy is of an algorithm of sb3-contrib: pip install "wnrl[contrib]"'
    assert done.stdout.splitlines() == [message] * len(MODULES)
