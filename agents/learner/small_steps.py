"""Gradient steps of small networks on a CPU, where each operation takes longer to start than to compute.

They are those of `loss.backward()`, `agents.learner.gradient_norm` and the optimizer, up to rounding, in fewer calls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors
from torch.autograd.graph import _engine_run_backward

from agents.learner.rmsprop import RMSprop
from agents.runtime.hardware import SMALL

_ONE = torch.ones(())


def backward(loss: Tensor) -> None:
    """As `loss.backward()` of a 0-dim loss, without that function's checks, which take as long as a small layer."""
    if loss.ndim or loss.dtype is not torch.float32 or loss.device.type != "cpu":
        loss.backward()
    else:
        _engine_run_backward((loss,), (_ONE,), False, False, (), allow_unreachable=True, accumulate_grad=True)


class SmallSteps:
    """Clips the gradients of one group of parameters, and makes the optimizer's step.

    Args:
        optimizer: of all the parameters. Its averages stay where they are; the step counts of Adam, and the averages of
            RMSprop, become views of one tensor.
        parameters: of a network.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]) -> None:
        self._optimizer: Any = optimizer
        self._parameters: Any = list(parameters)
        self._state: Any = None  # the optimizer's, for which what follows was made
        self._averages: list[list[Tensor]] = []
        self._joint: list[Tensor] = []
        (group,) = optimizer.param_groups[:1]
        small = sum(parameter.numel() for parameter in self._parameters) < SMALL
        plain = all(p.device.type == "cpu" and p.dtype is torch.float32 and p.is_contiguous() for p in self._parameters)
        adam = type(optimizer) is torch.optim.Adam and group["fused"] and not (group["amsgrad"] or group["maximize"])
        self.possible = bool(small and plain and (adam or type(optimizer) is RMSprop))
        """Whether its calls can make steps."""

    def __call__(self, limit: float) -> Tensor | None:
        """Make a step on the parameters' gradients, clipped to the norm `limit` where it is not 0.

        Returns:
            The norm that the gradients had, 0-dim; None where no step was made: before the first of the optimizer,
            without the gradient of a parameter, or where the norm is not finite.
        """
        if torch._C._len_torch_dispatch_stack():  # a mode records operations, such as those that a device would make
            return None
        optimizer, grads = self._optimizer, [parameter.grad for parameter in self._parameters]
        if self._state is not optimizer.state and not self._adopt():
            return None
        if len(optimizer.param_groups) > 1 or any(grad is None for grad in grads):
            return None
        flat = _flatten_dense_tensors(grads)
        norm = torch.linalg.vector_norm(flat)
        length = norm.item()
        if not math.isfinite(length):
            return None
        excess = (length + 1e-6) / limit if limit else 0.0  # as torch's clip_grad_norm_
        with torch.no_grad():
            if type(optimizer) is RMSprop:
                self._step_rmsprop(flat.div_(excess) if excess > 1.0 else flat)
            else:
                self._step_adam(grads, torch.tensor(excess) if excess > 1.0 else None)
        return norm

    def _step_adam(self, grads: Any, excess: Tensor | None) -> None:
        """Adam's step on the gradients, which are divided by `excess`, in place."""
        (group,), (means, squares, steps) = self._optimizer.param_groups, self._averages
        self._joint[0].add_(1.0)
        torch._fused_adam_(
            self._parameters,
            grads,
            means,
            squares,
            [],
            steps,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
            grad_scale=excess,
        )

    def _step_rmsprop(self, flat: Tensor) -> None:
        """RMSprop's step on the joint gradient, see `agents.learner.rmsprop`."""
        (group,), (squares, *means) = self._optimizer.param_groups, self._joint
        alpha, deviations = group["alpha"], flat
        share = 1 - alpha
        if means:
            deviations, share = flat - means[0], alpha * (1 - alpha)
            means[0].add_(deviations, alpha=1 - alpha)
        squares.mul_(alpha).addcmul_(deviations, deviations, value=share)
        steps = flat.div_((squares + group["eps"]).sqrt_())
        torch._foreach_add_(self._parameters, _unflatten_dense_tensors(steps, self._parameters), alpha=-group["lr"])

    def _adopt(self) -> bool:
        """Join the optimizer's averages, where it has some; whether it has."""
        states: list[Any] = [self._optimizer.state.get(parameter) for parameter in self._parameters]
        if not all(states):
            return False
        rms = type(self._optimizer) is RMSprop
        names = ("exp_avg", "exp_avg_sq", "step") if not rms else ("square_avg", "grad_avg")
        named = {name: [state[name] for state in states] for name in names if name in states[0]}
        self._joint = []
        for name in names if rms else ("step",):
            if name in named:
                self._joint.append(_flatten_dense_tensors(named[name]))
                parts = _unflatten_dense_tensors(self._joint[-1], named[name])
                for state, part in zip(states, parts, strict=True):
                    state[name] = part
                named[name] = list(parts)
        self._averages, self._state = list(named.values()), self._optimizer.state
        return True
