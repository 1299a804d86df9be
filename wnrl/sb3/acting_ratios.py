"""A warning where an algorithm of stable-baselines3 acts and learns with different statistics."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from wnrl.normalizers.batch_statistics import batch_norms
from wnrl.sb3.policies import NormalizedPolicy
from wnrl.weight_norm.factors import outdate

FAR = 0.1  # from 1
SHARE = 0.01  # of ratios that are so far, from which on there is a warning


class ComparedPolicy(NormalizedPolicy):
    """Mixed in before policies of algorithms that learn from ratios π/π_old, which are 1 before any gradient step.

    Under `batch`, `mean-batch` and `batch+projected` they are not, since the host acts with running statistics and
    learns with those of the minibatch. In the first minibatch of each rollout the ratios are measured, by one more pass
    in evaluation mode, until a warning says their share.
    """

    def set_training_mode(self, mode: bool) -> None:
        """As `NormalizedPolicy`'s; going into training mode, ratios are to be measured."""
        super().set_training_mode(mode)
        own = vars(self)
        own["_measures_ratios"] = mode and "_warned_of_ratios" not in own and bool(batch_norms(self))

    def evaluate_actions(self, obs: Any, actions: Tensor, *arguments: Any, **keywords: Any) -> Any:
        """As the host's."""
        evaluate: Callable[[], Any] = lambda: super(ComparedPolicy, self).evaluate_actions(  # type: ignore[misc] # noqa: E731
            obs, actions, *arguments, **keywords
        )
        if not (vars(self).get("_measures_ratios") and torch.is_grad_enabled()):
            return evaluate()
        with acting(self):
            old = evaluate()[1]
        outputs = evaluate()
        counted = self._counted(obs, actions, *arguments, **keywords)
        self._compare(outputs[1][counted], old[counted])
        return outputs

    def _counted(self, obs: Any, actions: Tensor, *arguments: Any, **keywords: Any) -> Any:
        """The index of the examples to measure."""
        return slice(None)

    def _compare(self, log_prob: Tensor, old: Tensor) -> None:
        """Warn, once, if many ratios `[B]` are far from 1."""
        own = vars(self)
        own["_measures_ratios"] = False
        ratio = (log_prob.detach() - old.detach()).exp()
        share = ((ratio - 1).abs() > FAR).float().mean().item()
        if share > SHARE:
            own["_warned_of_ratios"] = True
            warnings.warn(
                f"{100 * share:.0f} % of the ratios of new to old probabilities are more than {FAR} from 1 before any "
                f"gradient step: under norm {self._normalization['norm']!r} the host acts with running statistics and "
                "learns with those of the minibatch. Take norm 'weight' or 'layer', or wnrl's own PPO "
                "(scripts/train_ppo.py), which acts and learns with the same",
                stacklevel=3,
            )


@contextmanager
def acting(policy: nn.Module) -> Iterator[None]:
    """Within it, all of a policy is in evaluation mode, without gradients."""
    modes = [(module, module.training) for module in policy.modules()]
    for module, _ in modes:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        outdate(policy)  # TRPO writes parameters through `.data`
