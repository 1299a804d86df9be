import pytest

from agents.settings.flat import from_flat
from agents.settings.policy_gradient import A2CSettings, PPOSettings, REINFORCESettings


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (PPOSettings, {"epochs": 0}, "epochs must be at least 1, got 0"),
        (PPOSettings, {"minibatches": 0}, "minibatches must be at least 1, got 0"),
        (PPOSettings, {"clip_range": 0.0}, "clip_range must be above 0, got 0.0"),
        (PPOSettings, {"value_clip": -1.0}, "value_clip must not be negative, got -1.0"),
        (PPOSettings, {"lstm": 8, "separate": True}, "separate has no effect with lstm"),
        (PPOSettings, {"lstm": 8, "overlap_rollouts": True}, "overlap_rollouts is not for an lstm"),
        (
            A2CSettings,
            {"batch_statistics": "minibatch", "overlap_rollouts": True},
            "overlap_rollouts needs batch_statistics running",
        ),
        (A2CSettings, {"rollout_length": 0}, "rollout_length must be at least 1, got 0"),
        (A2CSettings, {"gae_lambda": 1.5}, "gae_lambda must lie between 0 and 1, got 1.5"),
        (A2CSettings, {"entropy_coef": -0.1}, "entropy_coef must not be negative, got -0.1"),
        (REINFORCESettings, {"episodes_per_update": 0}, "episodes_per_update must be at least 1, got 0"),
        (REINFORCESettings, {"chunk_size": 0}, "chunk_size must be at least 1, got 0"),
    ],
)
def test_numbers_out_of_range_or_of_no_meaning_are_refused(kind, changes, message):
    with pytest.raises(ValueError, match=message):
        from_flat(kind, changes)
