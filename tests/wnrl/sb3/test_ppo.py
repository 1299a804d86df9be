"""wnrl.sb3.ppo: the policies of PPO keep to the contract."""

from stable_baselines3 import PPO

from tests.wnrl.sb3.contract import ON_POLICY, PolicyContract


class TestPPOPolicies(PolicyContract):
    algorithm, module = PPO, "ppo"
    keywords = {**ON_POLICY, "batch_size": 4, "n_epochs": 2}  # noqa: RUF012
    steps_as_the_host, keywords_as_the_host = 400, {"n_steps": 64, "batch_size": 64}
    stranger = "wnrl.sb3.dqn.MlpPolicy"
