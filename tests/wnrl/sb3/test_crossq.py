"""wnrl.sb3.crossq: the policies of CrossQ keep to the contract."""

from sb3_contrib import CrossQ

from tests.wnrl.sb3.contract import OFF_POLICY, PolicyContract


class TestCrossQPolicies(PolicyContract):
    algorithm, module = CrossQ, "crossq"
    policies = ("MlpPolicy",)
    keywords, discrete = OFF_POLICY, False
    stranger, relative = "wnrl.sb3.ppo.MlpPolicy", "wnrl.sb3.sac.MlpPolicy"
