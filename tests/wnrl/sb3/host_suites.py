"""Run the tests of stable-baselines3 or sb3-contrib with the policies of `wnrl.sb3` under the host's names.

    python tests/wnrl/sb3/host_suites.py CHECKOUT [--norm none] [arguments of pytest]

CHECKOUT is a folder that holds `tests/` of the installed version, such as its unpacked source distribution
(`pip download --no-deps --no-binary :all: stable_baselines3==2.9.2`). `--norm none` runs the host's own classes.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from stable_baselines3.common.base_class import BaseAlgorithm

ALGORITHMS = {
    "stable_baselines3": ("a2c", "ddpg", "dqn", "ppo", "sac", "td3"),
    "sb3_contrib": ("crossq", "ppo_mask", "ppo_recurrent", "qrdqn", "tqc", "trpo"),
}
# Where the host defines the classes that several algorithms share, and the algorithm whose policies stand in there.
SHARED = {
    "stable_baselines3.common.policies": "ppo",
    "sb3_contrib.common.maskable.policies": "ppo_mask",
    "sb3_contrib.common.recurrent.policies": "ppo_recurrent",
}


def pytest_configure() -> None:
    """Called in each process of pytest, which loads this file as a plugin."""
    if os.environ.get("WNRL_HOST_SUITES") == "weight":
        swap()


def swap(assign: Callable[[Any, str, Any], None] = setattr) -> None:
    """Bind our policies to every name that the hosts give to theirs.

    Args:
        assign: as `setattr`.
    """
    packages = [importlib.import_module(f"{host}.{name}") for host, names in ALGORITHMS.items() for name in names]
    ours = {package.__name__.rpartition(".")[2]: _replacements(package, assign) for package in packages}
    for package, policies in zip(packages, ours.values(), strict=True):
        for algorithm in vars(package).values():
            if isinstance(algorithm, type) and issubclass(algorithm, BaseAlgorithm):
                aliases = algorithm.policy_aliases.items()
                assign(algorithm, "policy_aliases", {name: policies.get(host, host) for name, host in aliases})
        for module in (package, importlib.import_module(f"{package.__name__}.policies")):
            _rebind(module, policies, assign)
    for module_name, of_algorithm in SHARED.items():
        _rebind(importlib.import_module(module_name), ours[of_algorithm], assign)


def _replacements(package: ModuleType, assign: Callable[[Any, str, Any], None]) -> dict[Any, type]:
    """The host's policy classes of one algorithm, and ours for them."""
    ours = importlib.import_module(f"wnrl.sb3.{package.__name__.rpartition('.')[2]}")
    assign(ours, "host", SimpleNamespace(**vars(package)))  # ours go on calling the host's
    names = [name for name in dir(ours) if name.endswith("Policy") and name in vars(package)]
    return {getattr(package, name): getattr(ours, name) for name in names}


def _rebind(module: ModuleType, policies: dict[Any, type], assign: Callable[[Any, str, Any], None]) -> None:
    for name, value in list(vars(module).items()):
        if isinstance(value, type) and value in policies:
            assign(module, name, policies[value])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="a folder that holds the host's tests/")
    parser.add_argument("--norm", choices=["weight", "none"], default="weight", help="none: the host's own classes")
    options, for_pytest = parser.parse_known_args()
    if not (options.checkout / "tests").is_dir():
        parser.error(f"no folder tests in {options.checkout}")
    os.environ["WNRL_HOST_SUITES"] = options.norm
    sys.path.insert(0, str(Path(__file__).parent.resolve()))
    os.chdir(options.checkout)
    return pytest.main(["tests", "-p", Path(__file__).stem, *for_pytest])


if __name__ == "__main__":
    raise SystemExit(main())
