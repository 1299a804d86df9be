"""wnrl.sb3.td3: the policies of TD3 keep to the contract."""

from stable_baselines3 import TD3

from tests.wnrl.sb3.contract import OFF_POLICY, PolicyContract


class TestTD3Policies(PolicyContract):
    algorithm, module = TD3, "td3"
    keywords, discrete = OFF_POLICY, False
