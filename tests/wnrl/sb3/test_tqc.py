"""wnrl.sb3.tqc: the policies of TQC keep to the contract."""

from sb3_contrib import TQC

from tests.wnrl.sb3.contract import OFF_POLICY, PolicyContract


class TestTQCPolicies(PolicyContract):
    algorithm, module = TQC, "tqc"
    keywords, discrete = OFF_POLICY, False
    policy_keywords = {"net_arch": [16], "n_quantiles": 5}  # noqa: RUF012
    stranger = "wnrl.sb3.sac.MlpPolicy"
