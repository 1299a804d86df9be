import numpy as np
import pytest
import torch

from agents.on_policy.build import build_rollout_storage, check_minibatches
from envs import Chain, Gym
from tests.agents.environments import Clockwork


@pytest.mark.parametrize("environment", [Chain(3, length=4), Gym("Pendulum-v1", 2), Clockwork(5, obs_shape=(2, 6, 6))])
def test_the_storage_holds_what_the_environment_gives(environment):
    rows = build_rollout_storage(7, environment, torch.device("cpu")).get_state()
    shape = (7, environment.num_envs)
    assert rows["obs"].shape == (*shape, *environment.obs_shape)
    assert rows["obs"].numpy().dtype == environment.obs_dtype
    assert rows["action"].shape == ((*shape, 1) if environment.action_size else shape)
    assert rows["action"].dtype == (torch.float32 if environment.action_size else torch.int64)


def test_a_rollout_that_does_not_fit_in_memory_is_refused(monkeypatch):
    monkeypatch.setattr("wnrl.device.free_memory", lambda device: 10_000)
    environment = Clockwork(5, obs_shape=(4,))  # a row has 42 bytes
    assert environment.num_envs == 1
    build_rollout_storage(238, environment, torch.device("cpu"))
    with pytest.raises(ValueError, match=r"a rollout of 239 steps in 1 env.* use --rollout-length 238 or less"):
        build_rollout_storage(239, environment, torch.device("cpu"))


def test_images_stay_bytes():
    environment = Clockwork(5, obs_shape=(4, 8, 8))
    environment.obs_dtype = np.dtype(np.uint8)
    assert build_rollout_storage(2, environment, torch.device("cpu")).get_state()["obs"].dtype == torch.uint8


def test_more_minibatches_than_there_are_steps_are_refused():
    check_minibatches(6, 6)
    with pytest.raises(ValueError, match="minibatches must be at most 6, the steps of a rollout, got 7"):
        check_minibatches(7, 6)
    with pytest.raises(ValueError, match="minibatches must be at most 2, the sequences of a rollout, got 3"):
        check_minibatches(3, 2, "sequences")
