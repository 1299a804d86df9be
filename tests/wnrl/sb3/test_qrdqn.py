"""wnrl.sb3.qrdqn: the policies of QRDQN keep to the contract."""

from sb3_contrib import QRDQN

from tests.wnrl.sb3.contract import OFF_POLICY, PolicyContract


class TestQRDQNPolicies(PolicyContract):
    algorithm, module = QRDQN, "qrdqn"
    keywords = {**OFF_POLICY, "target_update_interval": 8}  # noqa: RUF012
    policy_keywords = {"net_arch": [16], "n_quantiles": 5}  # noqa: RUF012
    stranger = "wnrl.sb3.dqn.MlpPolicy"
