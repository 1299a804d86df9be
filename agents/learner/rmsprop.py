"""RMSprop as the papers and the published code of DQN and A2C have it: ε stands under the root."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class RMSprop(Optimizer):
    """Steps of lr · grad / √(n + ε), where n is a moving average of grad², or of its variance.

    torch's RMSprop divides by √n + ε instead, and begins with n = 0, so that its first steps have the size
    lr / √(1 − α) whatever the gradient. All is on the parameters' device, so that a CUDA graph can capture a step and
    torch.compile can compile it.

    Args:
        parameters: or parameter groups.
        lr: learning rate; a 0-dim tensor is read anew at each step.
        alpha: decay rate α of the averages.
        eps: ε, in units of grad².
        centered: n is the variance, the moving average of grad² less the square of that of grad, as Mnih et al. (2015)
            have it; it is averaged as α·(n + (1 − α)(grad − ḡ)²), the same number without the rounding of a difference.
        initial: n before the first step; 1 in TensorFlow, whose optimizer the published code of A2C uses.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float | Tensor,
        *,
        alpha: float,
        eps: float,
        centered: bool = False,
        initial: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "alpha": alpha, "eps": eps, "centered": centered, "initial": initial})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step on the gradients that are there; returns what `closure` does, which computes them first."""
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        for group in self.param_groups:
            self._step(group, [p for p in group["params"] if p.grad is not None])
        return result

    def _step(self, group: dict[str, Any], parameters: Any) -> None:
        if not parameters:
            return
        alpha = group["alpha"]
        grads: Any = [p.grad for p in parameters]
        states = [self._state_of(p, group) for p in parameters]
        squares: Any = [state["square_avg"] for state in states]
        deviations, share = grads, 1 - alpha
        if group["centered"]:
            means: Any = [state["grad_avg"] for state in states]
            deviations, share = torch._foreach_sub(grads, means), alpha * (1 - alpha)
            torch._foreach_add_(means, deviations, alpha=1 - alpha)
        torch._foreach_mul_(squares, alpha)
        torch._foreach_addcmul_(squares, deviations, deviations, share)
        roots: Any = torch._foreach_add(squares, group["eps"])
        torch._foreach_sqrt_(roots)
        steps = torch._foreach_div(grads, roots)
        torch._foreach_mul_(steps, group["lr"])
        torch._foreach_sub_(parameters, steps)

    def _state_of(self, parameter: nn.Parameter, group: dict[str, Any]) -> dict[str, Tensor]:
        state = self.state[parameter]
        if not state:
            state["square_avg"] = torch.full_like(parameter, group["initial"], memory_format=torch.preserve_format)
            if group["centered"]:
                state["grad_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return state
