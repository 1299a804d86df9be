"""The hosts' tests get our policies wherever they can name one, in every process of pytest."""

import subprocess
import sys
from pathlib import Path

import pytest
import sb3_contrib
import stable_baselines3
from stable_baselines3.common import policies
from stable_baselines3.sac.policies import SACPolicy

from tests.wnrl.sb3.host_suites import ALGORITHMS, main, swap
from wnrl.sb3.policies import NormalizedPolicy

SUITE = """
import pytest
from stable_baselines3 import DQN, dqn

@pytest.mark.parametrize("number", range(4))
def test_policies(number):
    policy = DQN("MlpPolicy", "CartPole-v1").policy
    assert isinstance(policy, dqn.MlpPolicy)
    assert hasattr(policy.q_net.q_net[0], "g") == {normalized}
"""


def algorithms():
    for host in (stable_baselines3, sb3_contrib):
        yield from (getattr(host, name) for name in host.__all__ if hasattr(getattr(host, name), "policy_aliases"))


def test_swap():
    with pytest.MonkeyPatch.context() as patch:
        swap(patch.setattr)
        aliases = {a: a.policy_aliases for a in algorithms() if a is not sb3_contrib.ARS}  # has no gradients
        assert len(aliases) == sum(map(len, ALGORITHMS.values()))
        for algorithm, classes in aliases.items():
            for policy in classes.values():
                assert issubclass(policy, NormalizedPolicy)
                assert policy.__module__ == f"wnrl.sb3.{algorithm.__module__.split('.')[1]}"
        assert issubclass(policies.ActorCriticPolicy, NormalizedPolicy)
        assert issubclass(stable_baselines3.sac.policies.SACPolicy, NormalizedPolicy)
        assert stable_baselines3.ppo.MlpPolicy is stable_baselines3.PPO.policy_aliases["MlpPolicy"]
    assert stable_baselines3.sac.policies.SACPolicy is SACPolicy
    assert not issubclass(SACPolicy, NormalizedPolicy)


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "normalized"), [("weight", True), ("none", False)])
def test_command(tmp_path, norm, normalized):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_one.py").write_text(SUITE.format(normalized=normalized))
    script = Path(__file__).with_name("host_suites.py")
    command = [sys.executable, script, tmp_path, "--norm", norm, "-q", "-n", "2", "-p", "no:cacheprovider"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1][:8]) == (0, "4 passed"), done.stdout + done.stderr


def test_a_folder_without_tests_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["host_suites.py", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    assert "no folder tests in" in capsys.readouterr().err
