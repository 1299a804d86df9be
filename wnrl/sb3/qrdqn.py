"""Policies for QR-DQN: those of `sb3_contrib.qrdqn`, normalized (see `wnrl.sb3.policies.NormalizedPolicy`)."""

from wnrl.sb3.contrib import qrdqn as host
from wnrl.sb3.policies import NormalizedPolicy


class QRDQNPolicy(NormalizedPolicy, host.MlpPolicy):
    """`sb3_contrib.qrdqn.MlpPolicy`, normalized."""


class CnnPolicy(QRDQNPolicy, host.CnnPolicy):
    """`sb3_contrib.qrdqn.CnnPolicy`, normalized."""


class MultiInputPolicy(QRDQNPolicy, host.MultiInputPolicy):
    """`sb3_contrib.qrdqn.MultiInputPolicy`, normalized."""


MlpPolicy = QRDQNPolicy
