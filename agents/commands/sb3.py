"""The command that trains an algorithm of stable-baselines3 with normalized networks."""

from __future__ import annotations

import ast
import importlib
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import gymnasium
import tyro
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack

from agents.commands.parser import fail, read
from agents.settings.network import Norm, Units
from wnrl.sb3 import DataDependentInit, NormDiagnostics

Algorithm = Literal[
    "a2c", "crossq", "ddpg", "dqn", "ppo", "ppo_mask", "ppo_recurrent", "qrdqn", "sac", "td3", "tqc", "trpo"
]
CONTRIB = {  # of sb3-contrib, by module
    "crossq": "CrossQ",
    "ppo_mask": "MaskablePPO",
    "ppo_recurrent": "RecurrentPPO",
    "qrdqn": "QRDQN",
    "tqc": "TQC",
    "trpo": "TRPO",
}


@dataclass(frozen=True)
class SB3Settings:
    """The algorithm and its arguments, the task and the normalizer."""

    algo: Algorithm = "ppo"
    """Algorithm of stable-baselines3, or of sb3-contrib (crossq, ppo_mask, ppo_recurrent, qrdqn, tqc, trpo)."""
    env: Annotated[str, tyro.conf.arg(metavar="ID")] = "CartPole-v1"
    """Gymnasium id; Atari games (ALE/Breakout-v5) get stable-baselines3's wrappers and stacks of 4 frames."""
    norm: Norm = "weight"
    init: Literal["preserve", "data", "analytic", "he"] = "preserve"
    """Initialization: the policy's own (preserve), data-dependent (data), by shapes (analytic) or He-uniform (he)."""
    normalize_output: bool | None = None
    """Normalize the output layers too; None: as in the paper that introduced the normalizer."""
    units: Units = "auto"
    """Weight norm: a row of n weights has length g (paper), √n g (sqrt) or exp(g) (log); auto: sqrt, for SGD paper."""
    steps: int = 100_000
    """Length of the run in environment steps, summed over environments."""
    num_envs: int = 1
    """Parallel environments, stepped together."""
    seed: int = 0
    """Random seed of everything."""
    device: str = "auto"
    """cpu, cuda, or auto (CUDA where available)."""
    hyperparams: tuple[str, ...] = ()
    """Arguments of the algorithm as NAME:VALUE, where the value is a Python literal, such as n_steps:256."""
    eval_episodes: int = 20
    """Games of the evaluation at the end, with the most probable actions; 0 does not evaluate."""
    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of model.zip and TensorBoard events; by default runs/ENV-ALGO-NORM-sSEED-TIME."""


def main(description: str) -> int:
    """Train, save and evaluate, as `scripts/train_sb3.py` does; returns the exit code."""
    try:
        arguments = read(SB3Settings, description)
        run_dir = arguments.run_dir or default_run_dir(arguments)
        model = make_model(arguments, run_dir)
    except (ValueError, TypeError, AssertionError, ImportError) as error:
        fail(error)
    callbacks: list[BaseCallback] = [NormDiagnostics()]
    if arguments.init == "data":
        callbacks.append(DataDependentInit())
    masks = {"use_masking": False} if arguments.algo == "ppo_mask" and not has_masks(model) else {}
    try:
        model.learn(arguments.steps, callback=callbacks, tb_log_name="tensorboard", **masks)
    except KeyboardInterrupt:
        print("stopped early")
    model.save(run_dir / "model.zip")
    print(f"model of step {model.num_timesteps:,}: {run_dir / 'model.zip'}")
    if arguments.eval_episodes:
        environment = model.get_env()
        assert environment is not None
        mean, deviation = evaluate_policy(model, environment, n_eval_episodes=arguments.eval_episodes)
        print(f"{arguments.env}: {mean:.1f} ± {deviation:.1f} over {arguments.eval_episodes} games")
    return 0


def default_run_dir(arguments: SB3Settings) -> Path:
    """`runs/ENV-ALGO-NORM-sSEED-TIME`."""
    task = arguments.env.removeprefix("ALE/")
    now = time.strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{task}-{arguments.algo}-{arguments.norm}-s{arguments.seed}-{now}"


def make_model(arguments: SB3Settings, run_dir: Path) -> BaseAlgorithm:
    """The algorithm with a normalized policy, ready to learn.

    Raises:
        ValueError, TypeError, AssertionError, ImportError: an argument does not fit, as the algorithm reports it.
    """
    package = "sb3_contrib" if arguments.algo in CONTRIB else "stable_baselines3"
    policies = importlib.import_module(f"wnrl.sb3.{arguments.algo}")
    algorithm = getattr(importlib.import_module(package), CONTRIB.get(arguments.algo, arguments.algo.upper()))
    environment = make_environment(arguments)
    units = None if arguments.units == "auto" else arguments.units
    normalization = {"norm": arguments.norm, "normalize_output": arguments.normalize_output, "units": units}
    init = "preserve" if arguments.init == "data" else arguments.init
    hyperparams = dict(parse_hyperparam(text) for text in arguments.hyperparams)
    policy_kwargs = {**hyperparams.pop("policy_kwargs", {}), **normalization, "init": init}
    return algorithm(
        getattr(policies, policy_name(policies, environment.observation_space)),
        environment,
        seed=arguments.seed,
        device=arguments.device,
        tensorboard_log=str(run_dir),
        policy_kwargs=policy_kwargs,
        verbose=1,
        **hyperparams,
    )


def make_environment(arguments: SB3Settings) -> VecEnv:
    """Environments as stable-baselines3 makes them.

    Raises:
        ValueError: there is no such environment.
    """
    if arguments.num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, got {arguments.num_envs}")
    try:
        if not arguments.env.startswith("ALE/"):
            return make_vec_env(arguments.env, arguments.num_envs, seed=arguments.seed)
        import ale_py  # noqa: F401  (registers the games)

        return VecFrameStack(make_atari_env(arguments.env, arguments.num_envs, seed=arguments.seed), 4)
    except gymnasium.error.Error as error:
        raise ValueError(error) from error


def has_masks(model: BaseAlgorithm) -> bool:
    """Whether the model's environments mask actions."""
    environment = model.get_env()
    return environment is not None and environment.has_attr("action_masks")


def policy_name(policies: ModuleType, space: spaces.Space[Any]) -> str:
    """Name of the policy class for an observation space.

    Raises:
        ValueError: `policies` has none.
    """
    kind = "MultiInput" if isinstance(space, spaces.Dict) else "Cnn" if is_image_space(space) else "Mlp"
    name = f"{kind}LstmPolicy" if hasattr(policies, "MlpLstmPolicy") else f"{kind}Policy"
    if not hasattr(policies, name):
        raise ValueError(f"{policies.__name__} has no {name}: choose another algorithm for these observations")
    return name


def parse_hyperparam(text: str) -> tuple[str, Any]:
    """Name and value of `NAME:VALUE`, where the value is a Python literal.

    Raises:
        ValueError: it is not of that form.
    """
    name, _, value = text.partition(":")
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"--hyperparams takes NAME:VALUE such as n_steps:256, got {text!r}") from error
