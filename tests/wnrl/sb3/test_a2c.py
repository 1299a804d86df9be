"""wnrl.sb3.a2c: the policies of A2C keep to the contract."""

from stable_baselines3 import A2C

from tests.wnrl.sb3.contract import PolicyContract


class TestA2CPolicies(PolicyContract):
    algorithm, module = A2C, "a2c"
    steps_as_the_host, keywords_as_the_host = 400, {"n_steps": 32}
    stranger, relative = "wnrl.sb3.dqn.MlpPolicy", "wnrl.sb3.ppo_recurrent.MlpLstmPolicy"
