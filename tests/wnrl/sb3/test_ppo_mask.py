"""wnrl.sb3.ppo_mask: the policies of MaskablePPO keep to the contract."""

from sb3_contrib import MaskablePPO

from tests.wnrl.sb3.contract import ON_POLICY, PolicyContract


class TestMaskablePPOPolicies(PolicyContract):
    algorithm, module = MaskablePPO, "ppo_mask"
    keywords = {**ON_POLICY, "batch_size": 4, "n_epochs": 2}  # noqa: RUF012
    masked = True
    stranger = "wnrl.sb3.ppo.MlpPolicy"
    refusal = ValueError, "Policy must subclass MaskableActorCriticPolicy"  # the host's own
