import pytest
from noise_study.noise_settings import NoiseSettings

TINY = {"env": "Chain", "norms": ("none", "batch"), "seeds": 2, "steps": 5_001}


def test_each_normalizer_and_seed_is_planned_once():
    twice = {**TINY, "norms": ("none", "batch", "none"), "measure_at": (2_000,)}
    plans = NoiseSettings(**twice, batch_sizes=(16, 8, 8)).plans()
    assert [(plan.run.norm, plan.run.seed) for plan in plans] == [("none", 0), ("batch", 0), ("none", 1), ("batch", 1)]
    assert {plan.batch_sizes for plan in plans} == {(8, 16)}


def test_noise_is_measured_after_each_fifth_unless_steps_are_given():
    with pytest.raises(ValueError, match="after the 1,000 random steps, got 1,000"):
        NoiseSettings(**TINY).plans()
    assert NoiseSettings(**{**TINY, "steps": 10_000}).plans()[0].steps == (2_000, 4_000, 6_000, 8_000, 10_000)
    assert NoiseSettings(**TINY, measure_at=(5_000, 2_000)).plans()[0].steps == (2_000, 5_000)


def test_normalizers_can_have_learning_rates_of_their_own():
    settings = NoiseSettings(**TINY, measure_at=(2_000,), learning_rates=("batch=3e-4",))
    assert {plan.run.norm: plan.run.learning_rate for plan in settings.plans()} == {"none": None, "batch": 3e-4}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"companies": 1}, "companies must be at least 2, got 1"),
        ({"norms": ()}, "norms must be some of none, weight"),
        ({"norms": ("wieght",)}, "got 'wieght'"),
        ({"batch_sizes": (1, 8)}, "batch_sizes must be 2 or more, got 1 8"),
        ({"batch_sizes": ()}, "batch_sizes must be 2 or more, got none"),
        ({"measure_at": (6_000,)}, "measure_at must be from 1 to the run's 5,001 steps, got 6000"),
        ({"learning_rates": ("weight=1e-3",)}, "of the norms that are compared, got 'weight=1e-3'"),
        ({"learning_rates": ("batch=-1",)}, "got 'batch=-1'"),
        ({"learning_rates": ("batch",)}, "got 'batch'"),
    ],
)
def test_bad_settings_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        NoiseSettings(**{**TINY, **changes})
