"""wnrl.sb3.ppo_recurrent: the policies of RecurrentPPO keep to the contract."""

from sb3_contrib import RecurrentPPO

from tests.wnrl.sb3.contract import ON_POLICY, PolicyContract


class TestRecurrentPPOPolicies(PolicyContract):
    algorithm, module = RecurrentPPO, "ppo_recurrent"
    keywords = {**ON_POLICY, "batch_size": 4, "n_epochs": 2}  # noqa: RUF012
    policies = ("MlpLstmPolicy", "CnnLstmPolicy", "MultiInputLstmPolicy")
    policy_keywords = {"net_arch": [16], "lstm_hidden_size": 8}  # noqa: RUF012
    stranger = "wnrl.sb3.ppo.MlpPolicy"
