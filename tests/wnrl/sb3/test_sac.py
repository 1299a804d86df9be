"""wnrl.sb3.sac: the policies of SAC keep to the contract."""

from stable_baselines3 import SAC

from tests.wnrl.sb3.contract import OFF_POLICY, PolicyContract


class TestSACPolicies(PolicyContract):
    algorithm, module = SAC, "sac"
    keywords, discrete = OFF_POLICY, False
    steps_as_the_host, keywords_as_the_host = 400, {"train_freq": 16}
    stranger, relative = "wnrl.sb3.ppo.MlpPolicy", "wnrl.sb3.tqc.MlpPolicy"
