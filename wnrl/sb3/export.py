"""Trained policies of stable-baselines3 as files that run without it: safetensors and ONNX."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn

from wnrl.sb3.policy_files import acting_part, without_suffix, write_policy

__all__ = ["Exported", "export"]

_PACKAGES = ("onnx", "onnxscript")
_BATCH = 2  # examples while it is traced; 1 would become a constant


class Exported(NamedTuple):
    """The files that `export` wrote."""

    safetensors: Path
    json: Path
    onnx: Path


def export(model: BaseAlgorithm, path: str | Path) -> Exported:
    """Write the acting policy, folded and deterministic, to ``PATH.safetensors``, ``PATH.json`` and ``PATH.onnx``.

    The first two are those of `save_policy`, which needs no further package. The ONNX graph computes the actions of
    `model.predict(obs, deterministic=True)`, up to rounding, including one-hot encoding, the scaling of images, and
    clipping or scaling to the action space. Its inputs are observations as in `model.observation_space`, `[B, *shape]`
    of its dtype for any B: images channel-first, those of a ``VecNormalize`` environment normalized. They are named
    `obs`, or by the keys of a `Dict` space. Its output is `action`, `[B, *action_space.shape]`. A recurrent policy has
    further inputs `hidden` and `cell`, each `[layers, B, units]`, and `episode_start`, `[B]` float, and outputs
    `next_hidden` and `next_cell`.

    Args:
        model: of any algorithm of stable-baselines3 or sb3-contrib with a policy network, plain or of `wnrl.sb3`.
        path: of the files; their suffixes may be left out. Folders are created, files overwritten.

    Returns:
        The paths of the three files.

    Raises:
        ImportError: the `onnx` extra is not installed.
        CheckpointError: a file cannot be written.
        ValueError: the policy cannot be exported as an ONNX graph, or a key of a `Dict` space is the name of another
            input or output.
    """
    _check_packages()
    stem = without_suffix(path)
    files = Exported(*(Path(f"{stem}.{kind}") for kind in Exported._fields))
    policy = acting_part(model.policy)
    network = _Recurrent(policy) if hasattr(policy, "lstm_actor") else _Feedforward(policy)
    _check_keys(network)
    inputs = network.example_inputs()
    program = _onnx_program(network, inputs)
    dtypes = {name: str(example.dtype).removeprefix("torch.") for name, example in inputs.items()}
    write_policy(policy, model, path, {"inputs": dtypes, "outputs": list(network.outputs)})
    program.save(files.onnx)
    return files


def _check_packages() -> None:
    for name in _PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ImportError(f'export needs the package {name}: pip install "wnrl[onnx]"') from error


class _Network(nn.Module):
    """From observations to the actions of `predict`."""

    outputs: tuple[str, ...] = ("action",)
    memory: tuple[str, ...] = ()  # inputs other than the observation

    def __init__(self, policy: BasePolicy) -> None:
        super().__init__()
        self.policy = policy
        if isinstance(policy.action_space, spaces.Box):
            self.register_buffer("low", torch.as_tensor(policy.action_space.low))
            self.register_buffer("high", torch.as_tensor(policy.action_space.high))

    def example_inputs(self) -> dict[str, Tensor]:
        """By name, in the order of `forward`'s arguments; `[_BATCH, ...]`."""
        space = self.policy.observation_space
        parts = space.spaces if isinstance(space, spaces.Dict) else {"obs": space}
        return {name: torch.from_numpy(np.zeros((_BATCH, *_shape(part)), part.dtype)) for name, part in parts.items()}

    def batch_dims(self) -> list[int]:
        """The batch dimension of each input."""
        return [0] * len(self.example_inputs())

    def _observation(self, inputs: tuple[Tensor, ...]) -> Any:
        space = self.policy.observation_space
        return dict(zip(space.spaces, inputs, strict=True)) if isinstance(space, spaces.Dict) else inputs[0]

    def _action(self, output: Tensor) -> Tensor:
        """`[B, *action_space.shape]`, within its bounds, of the policy's `[B, ...]`."""
        space = self.policy.action_space
        action = output.reshape(-1, *_shape(space))
        if not isinstance(space, spaces.Box):
            return action
        low, high = cast(Tensor, self.low), cast(Tensor, self.high)
        if self.policy.squash_output:
            return low + (0.5 * (action + 1.0) * (high - low))
        return torch.minimum(torch.maximum(action, low), high)


class _Feedforward(_Network):
    def forward(self, *inputs: Tensor) -> Tensor:
        return self._action(self.policy._predict(self._observation(inputs), deterministic=True))


class _Recurrent(_Network):
    """One step, as the host's `_predict` without its branch on the values of `episode_start`."""

    outputs = ("action", "next_hidden", "next_cell")
    memory = ("hidden", "cell", "episode_start")

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        policy = cast(Any, self.policy)
        *observation, hidden, cell, episode_start = inputs
        extractor = policy.pi_features_extractor
        features = BasePolicy.extract_features(policy, self._observation(tuple(observation)), extractor)
        kept = (1.0 - episode_start).reshape(1, -1, 1)
        output, hidden, cell = _one_step(policy.lstm_actor, features, kept * hidden, kept * cell)
        latent = policy.mlp_extractor.forward_actor(output)
        action = policy._get_action_dist_from_latent(latent).get_actions(deterministic=True)
        return self._action(action), hidden, cell

    def example_inputs(self) -> dict[str, Tensor]:
        lstm = cast(Any, self.policy).lstm_actor
        state = torch.zeros(lstm.num_layers, _BATCH, lstm.hidden_size)
        memory = (state, state.clone(), torch.zeros(_BATCH))
        return super().example_inputs() | dict(zip(self.memory, memory, strict=True))

    def batch_dims(self) -> list[int]:
        return [1 if name in self.memory[:2] else 0 for name in self.example_inputs()]


def _one_step(lstm: nn.LSTM, input: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Output `[B, H]` and states `[layers, B, H]`, by cells: torch 2.8 makes a graph of an LSTM that fails."""
    states = []
    for weights, *state in zip(lstm.all_weights, hidden, cell, strict=True):
        states.append(torch.lstm_cell(input, state, *weights))
        input = states[-1][0]
    hiddens, cells = zip(*states, strict=True)
    return input, torch.stack(hiddens), torch.stack(cells)


def _check_keys(network: _Network) -> None:
    taken = {*network.memory, *network.outputs} & set(getattr(network.policy.observation_space, "spaces", ()))
    if taken:
        names = " and ".join(map(repr, sorted(taken)))
        raise ValueError(f"the graph has inputs or outputs of its own named {names}: rename those observation keys")


def _onnx_program(network: _Network, inputs: Mapping[str, Tensor]) -> torch.onnx.ONNXProgram:
    shapes = tuple({dim: torch.export.Dim.DYNAMIC} for dim in network.batch_dims())
    try:
        with _quiet(), torch.no_grad():
            # apart, since torch 2.8's torch.onnx.export of a module keeps one side of a branch on values
            graph = torch.export.export(network.eval(), tuple(inputs.values()), dynamic_shapes=(shapes,), strict=False)
            program = torch.onnx.export(
                graph, input_names=list(inputs), output_names=list(network.outputs), dynamo=True, verbose=False
            )
    except Exception as error:  # those of torch.export have no class in common
        name = type(network.policy).__name__
        raise ValueError(f"{name} cannot be an ONNX graph: it branches on values or uses what ONNX lacks") from error
    assert program is not None
    _set_apart(program)
    return program


def _set_apart(program: torch.onnx.ONNXProgram) -> None:
    """Rename weights and results inside the graph, and its subgraphs, that have the name of an input or output."""
    graph = program.model.graph
    outside, inside = {*graph.inputs, *graph.outputs}, []
    for part in (graph, *graph.subgraphs()):
        results = (result for node in part for result in node.outputs)
        inside += [value for value in (*part.inputs, *part.initializers.values(), *results) if value not in outside]
    names, taken = {value.name for value in outside}, {value.name for value in (*outside, *inside)}
    for value in inside:
        if (name := value.name) in names:
            while name in taken:
                name = f"{name}_"
            taken.add(name)
            value.name = name


def _shape(space: spaces.Space) -> tuple[int, ...]:
    assert space.shape is not None
    return space.shape


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings, and without the distributions' validation, which would branch on values."""
    logger = logging.getLogger("torch.onnx")
    level, checks = logger.level, torch.distributions.Distribution._validate_args
    logger.setLevel(logging.ERROR)
    torch.distributions.Distribution.set_default_validate_args(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        torch.distributions.Distribution.set_default_validate_args(checks)
