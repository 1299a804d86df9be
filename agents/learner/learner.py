"""A network and its optimizer: the gradient steps of every agent."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from agents.learner.finite import Kept, check_figures, check_kept
from agents.learner.gradient_norm import clip, gradient_norm
from agents.learner.optimizers import load_optimizer, make_optimizer
from agents.learner.small_steps import SmallSteps, backward
from agents.runtime.compiling import Compiler
from agents.runtime.cuda_graphs import Graphs
from agents.runtime.distributed import OneProcess, Ranks, joint_weight
from agents.settings.learner import LearnerSettings
from wnrl.diagnostics.network_metrics import NetworkDiagnostics, rank_metrics
from wnrl.diagnostics.norms import Forward, NormDiagnostics
from wnrl.normalizers.projection import projections
from wnrl.tracking.means import Means

Loss = tuple[Tensor, Mapping[str, Tensor]]  # 0-dim, to minimize; its metrics, 0-dim by TensorBoard tag


class Learner:
    """Makes gradient steps on a network, and keeps their metrics.

    Args:
        network: normalized, initialized and on its device.
        settings: of the optimizer.
        learning_rate: by environment step.
        outputs: from a copy of the network and observations to the outputs `[B, A]` that the diagnostics look at: Q
            values, logits, or the means of continuous actions.
        dtype: of matrix products (`torch.bfloat16` runs them under autocast).
        description: from which the network can be built again, see `agents.learner.network`.
        compiler: of losses and, on CUDA, of the optimizer's steps; None compiles nothing.

    Attributes:
        compiler: as given.
        num_updates: gradient steps made.
        learning_rate: by environment step.
        diagnostics: of the layers; `due` where they measure the next gradient step.
        network_diagnostics: of the network as a whole.
        ranks: the processes that learn together.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: LearnerSettings,
        *,
        learning_rate: Callable[[int], float],
        outputs: Forward,
        dtype: torch.dtype = torch.float32,
        description: Mapping[str, Any] = {},
        compiler: Compiler | None = None,
    ) -> None:
        self.description = dict(description)
        self.network, self.dtype, self.num_updates = network, dtype, 0
        self.device = next(network.parameters()).device
        self.compiler = Compiler(self.device) if compiler is None else compiler
        compiles_steps = self.compiler.enabled and self.device.type == "cuda"
        self.optimizer = make_optimizer(
            settings.optimizer,
            network.parameters(),
            learning_rate=settings.learning_rate,
            beta1=settings.beta1,
            eps=settings.optimizer_eps,
            fused=not compiles_steps,
        )
        self._compiled_step = self.compiler.compile(self._traced_step, "the optimizer") if compiles_steps else None
        self._kept = Kept(network, self.optimizer)
        self._parameters = list(network.parameters())  # walking a small network's modules takes as long as a step
        self._small_steps = SmallSteps(self.optimizer, self._parameters)
        self._projected = projections(network)
        self._limit = settings.max_grad_norm
        self.learning_rate = learning_rate
        self._means, self.diagnostics = Means(), NormDiagnostics(network, outputs)
        self.network_diagnostics = NetworkDiagnostics(network, outputs)
        self.ranks: Ranks = OneProcess()

    def autocast(self) -> AbstractContextManager[None]:
        """A context for forward passes in the network's precision."""
        if self.dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def share(self, ranks: Ranks) -> None:
        """Learn together with other processes from now on, starting from the first one's network."""
        self.ranks = ranks
        ranks.broadcast_tensors(tensor.detach() for tensor in (*self._parameters, *self.network.buffers()))

    def anneal(self, step: int) -> None:
        """Set the learning rate of the next gradient steps to that of environment step `step`."""
        learning_rate = self.learning_rate(step)
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):  # in place: a captured step reads it
                group["lr"].fill_(learning_rate)
            else:
                group["lr"] = learning_rate

    def update(self, loss: Tensor, metrics: Mapping[str, Tensor]) -> None:
        """Make one gradient step, without waiting for the device.

        Args:
            loss: 0-dim, of a forward pass through the network.
            metrics: 0-dim tensors by TensorBoard tag; their means are logged.
        """
        self.update_sum([(loss, metrics)])

    def update_sum(self, parts: Iterable[tuple[Tensor, Mapping[str, Tensor]]]) -> None:
        """Make one gradient step on a sum of losses, each of which is freed before the next is computed.

        Args:
            parts: losses and metrics as `update` takes them; the metrics are summed too.
        """
        self.step(parts, measured=self.diagnostics.due)
        self.count_updates(1)

    def step(self, parts: Iterable[tuple[Tensor, Mapping[str, Tensor]]], *, measured: bool = False) -> None:
        """The device's part of `update_sum`, which a CUDA graph can capture; `count_updates` has to follow.

        Args:
            parts: losses and metrics.
            measured: whether the diagnostics measure it.
        """
        self._drop_gradients()
        total: dict[str, Tensor] = {}
        for loss, metrics in parts:
            backward(loss)
            for name, value in {"train/loss": loss, **metrics}.items():
                total[name] = total[name] + value.detach() if name in total else value.detach()
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if self.ranks.world_size > 1:
            learned = (parameter for group in self.optimizer.param_groups for parameter in group["params"])
            self.ranks.average(parameter.grad for parameter in learned if parameter.grad is not None)
        with self.diagnostics.around_update() if measured else nullcontext():
            clip_and_step = self._clip_and_step if measured else self._compiled_step or self._clip_and_step
            grad_norm = clip_and_step(gradients)
            for layer in self._projected:
                layer.project()
        self._means.accumulate({**total, "train/grad_norm": grad_norm})

    def _drop_gradients(self) -> None:
        """As the optimizer's `zero_grad`, without its records for a profiler, which take as long as a small layer."""
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def _clip(self, gradients: Sequence[Tensor]) -> Tensor:
        """Clip the gradients, in place, if that is asked for; the norm that they had."""
        grad_norm = gradient_norm(gradients)
        if self._limit:
            clip(gradients, grad_norm, self._limit)
        return grad_norm

    def _clip_and_step(self, gradients: Sequence[Tensor]) -> Tensor:
        """Clip the gradients, in place, and make the optimizer's step; the norm that they had."""
        if self._small_steps.possible:
            grad_norm = self._small_steps(self._limit)
            if grad_norm is not None:
                return grad_norm
        grad_norm = self._clip(gradients)
        self.optimizer.step()
        return grad_norm

    def _traced_step(self, gradients: Sequence[Tensor]) -> Tensor:
        """As `_clip_and_step`, without the wrappers of torch's step, which a compiler cannot follow."""
        grad_norm = self._clip(gradients)
        with torch.no_grad():
            inspect.unwrap(type(self.optimizer).step)(self.optimizer)
        return grad_norm

    def count_updates(self, updates: int) -> None:
        """The host's part of `updates` gradient steps."""
        self._means.sets += updates
        self.num_updates += updates

    def metrics(
        self, step: int, obs: Tensor | None, generator: torch.Generator, *, examples: int | None = None
    ) -> dict[str, float]:
        """Scalars by TensorBoard tag: means since the last reading, and the state of the layers and of the network.

        Args:
            step: environment step for which the learning rate was last set.
            obs: observations `[B, *obs_shape]` for the diagnostics; None where there are none yet.
            generator: of the reading, on the network's device.
            examples: how many of them are for the layers' diagnostics, as many as in two minibatches; None: all.

        Raises:
            NonFiniteError: learning broke down: a loss, a gradient norm, a weight or an average of the optimizer is not
                finite.
        """
        learning_rate = self.learning_rate(step)
        shown, gram = self.diagnostics.read(learning_rate, None if obs is None else obs[:examples], generator), None
        if obs is not None:
            reading = self.network_diagnostics.read(obs, generator)
            shown, gram = {**shown, **reading.metrics}, reading.gram
        figures, gram = on_host([*shown.values(), self._kept.finite], gram)
        *values, finite = figures
        means = self._means.read()
        check_figures(step, means)
        if not finite:
            self.check_finite(step)
        return {
            **means,
            "train/learning_rate": learning_rate,
            "train/n_updates": self.num_updates,
            **dict(zip(shown, values, strict=True)),
            **rank_metrics(gram),
        }

    def check_finite(self, step: int) -> None:
        """Raise NonFiniteError where a weight or an average of the optimizer is not; waits for the device."""
        check_kept(step, self._kept)

    def get_state(self) -> dict[str, Any]:
        """Everything needed to continue."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "means": self._means.get_state(),
            "diagnostics": self.diagnostics.get_state(),
            "network_diagnostics": self.network_diagnostics.get_state(),
            "num_updates": self.num_updates,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `get_state`'s state.

        Raises:
            ValueError: it is of another network, such as one with other layers normalized.
        """
        try:
            self.network.load_state_dict(state["network"])
        except RuntimeError as error:
            raise ValueError(
                f"the checkpoint is of another network than this version makes of the settings ({error}): evaluate the "
                "run's model, or start a new run with --init-from"
            ) from error
        load_optimizer(self.optimizer, state["optimizer"])
        self._means.set_state(state["means"])
        self.diagnostics.set_state(state["diagnostics"])
        self.network_diagnostics.set_state(state.get("network_diagnostics", {"before": {}}))  # of earlier versions
        self.num_updates = state["num_updates"]


def on_host(figures: Sequence[Tensor], matrix: Tensor | None) -> tuple[list[float], Tensor | None]:
    """0-dim tensors as numbers, and a square matrix on the host; waits for the device once."""
    numbers = torch.stack([figure.double() for figure in figures])
    if matrix is None:
        return numbers.tolist(), None
    both = torch.cat([numbers, matrix.flatten()]).cpu()
    return both[: len(numbers)].tolist(), both[len(numbers) :].view_as(matrix)


class GradientSteps:
    """Makes one gradient step per call, on a minibatch.

    Args:
        learner: makes the step.
        loss: of a minibatch, trees of tensors; never waits for the device, and draws nothing. In a run of several
            processes it is a mean over the `valid` steps of a minibatch, as its metrics are.
        graphs: captures the step; None captures nothing, and then nothing is compiled either.
    """

    def __init__(self, learner: Learner, loss: Callable[..., Loss], graphs: Graphs | None) -> None:
        self._learner, self._loss = learner, loss
        self._compiled = learner.compiler.compile(loss, "the loss") if graphs and learner.compiler.enabled else None
        self._launch = graphs.capture_function(self.step, "a gradient step") if graphs else self.step

    def __call__(self, *minibatch: Any) -> None:
        if self._learner.diagnostics.due:
            self._learner.update(*self._of_all(self._loss(*minibatch), minibatch))
        else:
            self._launch(*minibatch)
            self._learner.count_updates(1)

    def loss(self, *minibatch: Any) -> Loss:
        """The loss of a minibatch, compiled unless the diagnostics measure the next step."""
        loss = self._loss if self._learner.diagnostics.due else self._compiled or self._loss
        return self._of_all(loss(*minibatch), minibatch)

    def step(self, *minibatch: Any) -> None:
        """The device's part of a step that the diagnostics do not measure."""
        self._learner.step([self._of_all((self._compiled or self._loss)(*minibatch), minibatch)])

    def _of_all(self, result: Loss, minibatch: Any) -> Loss:
        """The loss weighted so that its mean over all processes is that over their valid steps; own metrics."""
        ranks = self._learner.ranks
        if ranks.world_size == 1:
            return result
        loss, metrics = result
        return joint_weight(minibatch[0].valid, ranks) * loss, metrics
