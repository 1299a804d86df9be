"""Callbacks for stable-baselines3: the paper's initialization, and the metrics of the normalizer."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any, cast

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from wnrl.diagnostics import norms
from wnrl.initialization.initialize import FROM_DATA, initialize
from wnrl.normalizers.layer_kinds import unknown_name
from wnrl.sb3.learner import (
    Inputs,
    Learner,
    optimizers,
    replay_inputs,
    rollout_inputs,
    sample_inputs,
    take,
    without_compilation,
)
from wnrl.sb3.policies import NormalizedPolicy
from wnrl.sb3.randomness import same_randomness

_TABLES = ("stdout", "log")  # the host's names for its tables


class DataDependentInit(BaseCallback):
    """Initializes the policy by `wnrl.data_init` on the first observations, before the first update.

    All networks that take observations are initialized together, a shared features extractor once; critics get the
    actions that were taken. Target networks then equal their learners. Optimizers stay valid: no parameter is replaced.
    `norm="none"`, the paper's baseline, is initialized too. A model that has made updates before (a loaded one, or one
    whose training continues) stays as it is.

    Off-policy algorithms are initialized at the end of `learning_starts`, from the replay buffer; on-policy ones after
    as many rollouts as hold `batch_size` observations. They do not learn from these rollouts, whose values,
    log-probabilities and advantages are those of the networks before the initialization.

    Args:
        batch_size: number of observations (500 in the paper).
        verbose: 1 prints a line when the policy is initialized.
        init: `data`, or `lsuv` or `within-layer`, see `wnrl.initialize`.

    Raises:
        ValueError: an unknown `init`, or fewer than 2 observations; when training starts, if there will be fewer
            observations than that before the first update, or if the policy is not one of `wnrl.sb3`.
    """

    def __init__(self, batch_size: int = 500, verbose: int = 0, init: str = "data") -> None:
        super().__init__(verbose)
        if init not in FROM_DATA:
            raise unknown_name("init", str(init), [*FROM_DATA])
        if batch_size < 2:
            raise ValueError(f"batch_size must be 2 or more, got {batch_size}")
        self.batch_size = batch_size
        self.init = init
        self._waiting = False
        self._seen: list[Inputs] = []  # of an on-policy algorithm's rollouts

    def _on_training_start(self) -> None:
        policy = without_compilation(self.model.policy)
        if not isinstance(policy, NormalizedPolicy):
            name = type(policy).__name__
            raise ValueError(
                f"DataDependentInit takes policies of wnrl.sb3, got {name}: norm='none' gives the plain ones"
            )
        self._waiting = self.model._n_updates == 0
        if self._waiting and isinstance(self.model, OffPolicyAlgorithm):
            self._check_replay(self.model)
        elif self._waiting and isinstance(self.model, OnPolicyAlgorithm):
            self._check_rollouts(self.model)

    def _check_replay(self, model: OffPolicyAlgorithm) -> None:
        observations = min(model.learning_starts, model.buffer_size)
        if observations < self.batch_size:
            raise ValueError(
                f"DataDependentInit needs {self.batch_size} observations, but learning_starts={model.learning_starts} "
                f"and buffer_size={model.buffer_size} give {observations}: raise them or lower batch_size"
            )

    def _check_rollouts(self, model: OnPolicyAlgorithm) -> None:
        rollout = _rollout_steps(model)
        needed = rollout * math.ceil((self.batch_size - self._num_seen()) / rollout)
        left = self.locals["total_timesteps"] - model.num_timesteps
        if left <= needed:
            raise ValueError(
                f"DataDependentInit takes the first {needed} steps, in rollouts of {rollout}, for its "
                f"{self.batch_size} observations: {left} steps leave none to learn from, train for more"
            )

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if not self._waiting:
            return
        if isinstance(self.model, OffPolicyAlgorithm):
            if self.model.num_timesteps > self.model.learning_starts:
                self._initialize(replay_inputs(self.model, self.batch_size))
            return
        self._seen.append(rollout_inputs(self.model))
        self._skip_training()
        if self._num_seen() >= self.batch_size:
            seen = tree_map(lambda *parts: torch.cat(parts), *self._seen)
            rows = np.random.permutation(self._num_seen())[: self.batch_size]
            self._initialize(take(seen, torch.from_numpy(rows).to(self.model.device)))

    def _num_seen(self) -> int:
        return sum(len(actions) for _, actions, *_ in self._seen)

    def _skip_training(self) -> None:
        """Skip the update after this rollout."""
        skipped = _SkippedUpdate(self.model)
        vars(self.model).update(train=skipped.train, _excluded_save_params=skipped.excluded)

    def _initialize(self, inputs: Inputs) -> None:
        policy = without_compilation(self.model.policy)
        assert isinstance(policy, NormalizedPolicy)
        initialize(Learner(policy), self.init, *inputs)
        policy.equalize_targets()
        self._waiting = False
        self._seen.clear()
        if self.verbose:
            print(f"initialized from {self.batch_size} observations after {self.num_timesteps} steps")


class _SkippedUpdate:
    """Replaces the next update of a model, and keeps this out of files that are saved before it."""

    def __init__(self, model: BaseAlgorithm) -> None:
        self._model = model

    def train(self) -> None:
        """Instead of the model's method, once."""
        for name in ("train", "_excluded_save_params"):
            vars(self._model).pop(name, None)

    def excluded(self) -> list[str]:
        """The attributes that the model does not save."""
        return [*type(self._model)._excluded_save_params(self._model), "train", "_excluded_save_params"]


class NormDiagnostics(BaseCallback):
    """Records the metrics of `wnrl.diagnostics.norms` in the host's logger, and so in TensorBoard: `weights/LAYER/...`.

    LAYER is the layer's name in the policy (`q_net.conv1`, `action_net`); target networks are not measured. Besides
    `norm_metrics` (with the learning rate of the layer's optimizer) these are `weights/LAYER/angle` of the first step
    of the layer's optimizer since the last reading, and `weights/LAYER/dead` and, with batch normalization or dropout,
    `weights/minibatch_noise` on observations from the host's buffer: twice as many as in a minibatch, but at most the
    whole rollout. The host's printed table and its `log.txt` show the noise alone, since they cut long names and refuse
    those that become equal; TensorBoard, csv and json files get everything.

    Learning stays the same to the bit: the global generators of NumPy and torch keep their states.

    Args:
        interval: steps between readings; the first is before the first update.
    """

    def __init__(self, interval: int = 10_000, verbose: int = 0) -> None:
        super().__init__(verbose)
        if interval < 1:
            raise ValueError(f"interval must be 1 step or more, got {interval}")
        self.interval = interval
        self._next = 0
        self._inputs: Inputs = ()
        self._hooks = ExitStack()
        self._readers: list[_Reader] = []

    def _on_training_start(self) -> None:
        self._hooks.close()
        self._next = self.num_timesteps
        self._learner = Learner(self.model.policy)
        self._readers = [_Reader(self._learner, optimizer) for optimizer in optimizers(self.model.policy)]
        for reader in self._readers:
            self._hooks.callback(reader.remove)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self.num_timesteps < self._next or self.num_timesteps <= getattr(self.model, "learning_starts", -1):
            return
        self._next = self.num_timesteps + self.interval
        metrics = self._read()
        for tag, metric in zip(metrics, torch.stack(list(metrics.values())).tolist(), strict=True):
            self.logger.record(tag, metric, exclude=None if tag == norms.NOISE else _TABLES)

    def _on_training_end(self) -> None:
        self._hooks.close()

    def _read(self) -> dict[str, Tensor]:
        metrics = {tag: metric for reader in self._readers for tag, metric in reader.read().items()}
        with same_randomness(self.model.device):
            self._inputs = sample_inputs(self.model, 2 * _minibatch(self.model))
            rows = torch.arange(len(self._inputs[1]), device=self.model.device)
            generator = torch.Generator(self.model.device).manual_seed(self.num_timesteps)
            metrics |= norms.dead_unit_metrics(self._learner, rows, self._forward)
            if len(rows) > 1 and norms.depends_on_minibatch(self._learner):
                noise = norms.minibatch_noise(self._learner, rows, self._forward, generator)
                metrics[norms.NOISE] = noise
        self._inputs = ()
        return metrics

    def _forward(self, learner: nn.Module, rows: Tensor) -> Tensor:
        return learner(*take(self._inputs, rows))


class _Reader:
    """The metrics of the layers that an optimizer updates; hooks on its steps measure the angle."""

    def __init__(self, learner: Learner, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self._diagnostics = norms.NormDiagnostics(learner, parameters=held)
        self._step = ExitStack()
        self._handles = (
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        )

    def read(self) -> dict[str, Tensor]:
        return self._diagnostics.read(self._optimizer.param_groups[0]["lr"])

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _before_step(self, *arguments: Any) -> None:
        self._step.enter_context(self._diagnostics.around_update())

    def _after_step(self, *arguments: Any) -> None:
        self._step.close()


def _minibatch(model: BaseAlgorithm) -> int:
    """Observations in a minibatch; for A2C, in the rollout."""
    size = getattr(model, "batch_size", None)
    return _rollout_steps(model) if size is None else size


def _rollout_steps(model: BaseAlgorithm) -> int:
    """Steps of an on-policy algorithm between its updates."""
    return cast(Any, model).n_steps * model.n_envs
