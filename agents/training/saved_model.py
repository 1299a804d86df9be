"""The true scores of a saved model, and what it looks like when it plays."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from agents.acting.policies import make_policy
from agents.learner.network import make_network
from agents.runtime.devices import resolve_device
from agents.training.evaluation import evaluate
from agents.training.run_directory import RunDirectory
from envs import Environment, TimeStep, human_normalized, make, rom_id
from wnrl.checkpoints.checkpoints import load_model
from wnrl.normalizers.folding import fold


class Model(NamedTuple):
    """A saved model: its folded network, and what is known of it."""

    network: nn.Module
    description: dict[str, Any]
    name: str  # of its file


def load(directory: RunDirectory, model: str, device: torch.device) -> Model:
    """Load a run's model.

    Args:
        directory: of the run.
        model: `best`, `last`, or `auto`: the best where there is one, else the last.
        device: where it will act.

    Raises:
        ValueError: the run has no such model yet, or its file is damaged.
    """
    names = {"best": ["best"], "last": ["model"], "auto": ["best", "model"]}[model]
    found = [name for name in names if (directory.path / f"{name}.json").is_file()]
    if not found:
        raise ValueError(f"{directory.path} has no {' or '.join(names)}.safetensors yet: train it longer")
    tensors, description = load_model(directory.path / found[0])
    network = fold(make_network(description["network"]))
    network.load_state_dict(tensors)
    return Model(network.to(device).eval(), description, found[0])


def measure(
    *,
    run_dir: Path,
    episodes: int,
    epsilon: float | None,
    model: str,
    num_envs: int,
    seed: int,
    device: str,
    video: bool,
) -> str:
    """Play whole games with a run's model; what came out, in words.

    Args:
        run_dir: folder of the run.
        episodes: whole games to play.
        epsilon: share of random actions; None takes the run's own in evaluation.
        model: `best`, `last` or `auto`.
        num_envs: games played at once.
        seed: of the games and of random actions.
        device: `auto`, `cpu`, `cuda`, ….
        video: write the first game to `videos/` in the run's folder.

    Raises:
        ValueError: there is no such run, model or device, or video needs what is not installed.
    """
    for name, value in (("episodes", episodes), ("num_envs", num_envs)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    directory = RunDirectory.open(run_dir)
    chosen = load(directory, model, resolve_device(device))
    play = chosen.description["play"] | ({} if epsilon is None else {"epsilon": epsilon})
    environment = _environment(chosen.description, min(num_envs, episodes), video)
    recording = Recording(environment, directory.path / "videos", chosen) if video else None
    watch: Callable[[TimeStep], Any] = recording.watch if recording else lambda timestep: None
    policy = make_policy(chosen.network, np.random.default_rng(seed), **play)
    games = evaluate(policy, environment, episodes=episodes, seed=seed, watch=watch)
    environment.close()
    lines = [describe(chosen, [game.score for game in games], play)]
    if recording:
        lines.append(f"video of the first game: {recording.close()}")
    return "\n".join(lines)


def describe(model: Model, scores: list[float], play: dict[str, Any]) -> str:
    """Mean ± standard deviation, and the human-normalized score where one is known."""
    task = model.description["game"] or model.description["env"]
    line = f"{task}: {np.mean(scores):.1f} ± {np.std(scores):.1f} over {len(scores)} whole games"
    manner = ["actions sampled"] if play.get("sample") else []
    if play.get("epsilon") or not manner:
        manner.append(f"epsilon {play.get('epsilon', 0):g}")
    line += f" ({', '.join(manner)}, {model.name}.safetensors of step {model.description['step']:,})"
    if model.description["game"]:
        normalized = human_normalized(rom_id(task), float(np.mean(scores)))
        if normalized is not None:
            line += f", human-normalized {normalized:.2f} (random play 0, human 1)"
    return line


def _environment(description: dict[str, Any], num_envs: int, video: bool) -> Environment:
    options = {**description["emulator"], **({"render_mode": "rgb_array"} if video else {})}
    return make(game=description["game"], env=description["env"], num_envs=num_envs, **options)


class Recording:
    """The first game of environment 0 as an MP4 file.

    Args:
        environment: that can render.
        folder: where the file goes.
        model: that plays; the file is named for its step.

    Raises:
        ValueError: the packages that write videos are not installed.
    """

    def __init__(self, environment: Environment, folder: Path, model: Model) -> None:
        try:
            import imageio.v2 as imageio

            importlib.import_module("imageio_ffmpeg")
        except ImportError as error:
            raise ValueError('--video needs imageio with ffmpeg: pip install "wnrl[video]"') from error
        folder.mkdir(exist_ok=True)
        self._environment = environment
        self._path = folder / f"{model.name}-step-{model.description['step']}.mp4"
        fps = 60 // environment.frame_skip if environment.frame_skip > 1 else 30
        self._writer = imageio.get_writer(self._path, fps=fps, macro_block_size=2)
        self._recording = True

    def watch(self, timestep: TimeStep) -> None:
        """Take the picture of a row, until the first game ends.

        Raises:
            ValueError: the environment cannot be shown.
        """
        if not self._recording:
            return
        try:
            self._writer.append_data(self._environment.render())
        except RuntimeError as error:
            self.close()
            self._path.unlink(missing_ok=True)
            raise ValueError(f"no video: {error}") from error
        self._recording = not timestep.last[0]

    def close(self) -> Path:
        """Finish the file; its path."""
        self._writer.close()
        return self._path
