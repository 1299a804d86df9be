"""wnrl.sb3.ddpg: the policies of DDPG keep to the contract."""

from stable_baselines3 import DDPG

from tests.wnrl.sb3.contract import OFF_POLICY, PolicyContract


class TestDDPGPolicies(PolicyContract):
    algorithm, module = DDPG, "ddpg"
    keywords, discrete = OFF_POLICY, False
