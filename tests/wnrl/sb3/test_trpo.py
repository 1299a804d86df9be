"""wnrl.sb3.trpo: the policies of TRPO keep to the contract."""

from sb3_contrib import TRPO

from tests.wnrl.sb3.contract import ON_POLICY, PolicyContract


class TestTRPOPolicies(PolicyContract):
    algorithm, module = TRPO, "trpo"
    keywords = {**ON_POLICY, "batch_size": 8, "cg_max_steps": 2, "n_critic_updates": 2}  # noqa: RUF012
    stranger = "wnrl.sb3.ppo_mask.MlpPolicy"
