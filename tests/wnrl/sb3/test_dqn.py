"""wnrl.sb3.dqn: the policies of DQN keep to the contract."""

from stable_baselines3 import DQN

from tests.wnrl.sb3.contract import OFF_POLICY, PolicyContract


class TestDQNPolicies(PolicyContract):
    algorithm, module = DQN, "dqn"
    keywords = {**OFF_POLICY, "target_update_interval": 8}  # noqa: RUF012
    steps_as_the_host, keywords_as_the_host = 400, {"train_freq": 8}
