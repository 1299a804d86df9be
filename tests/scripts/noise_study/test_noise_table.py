import math

import pytest
from noise_study.companies import Deviation, Noise
from noise_study.noise_runs import NoiseRow, NoiseRun
from noise_study.noise_table import Range, Study, q_noise, score, table, target_noise

SIZES, STEPS = (8, 64, 512), (1_000, 2_000)


def rows_of(*norms, seeds=2, strength=1.0):
    """Noise of strength / √B, times 1 + seed, and no noise for `none`; scores of step × (1 + seed)."""
    return [
        NoiseRow(
            NoiseRun("Chain", norm, seed, 2_000, None, 2, 3),
            step,
            size,
            Noise(*[Deviation(0 if norm == "none" else factor * strength * (1 + seed) / size**0.5, 1.0)] * 2),
            step * (1.0 + seed),
            agents_batch=100,
        )
        for norm in norms
        for seed in range(seeds)
        for step, factor in zip(STEPS, (2, 1), strict=True)
        for size in SIZES
    ]


def test_a_range_is_over_the_seeds_that_have_a_number():
    assert Range.of([3.0, 1.0, math.nan]) == (2.0, 1.0, 3.0, 2, 3)
    assert str(Range.of([3.0, 1.0, math.nan])) == "2 (1–3), 2 of 3 seeds"
    assert str(Range.of([0.1, math.nan])) == "0.1, 1 of 2 seeds"
    assert str(Range.of([3.0, 1.0])) == "2 (1–3)"
    assert str(Range.of([0.0, 0.0])) == "0"
    assert str(Range.of([math.nan])) == "–"


def test_a_study_has_its_rows_by_norm_step_and_batch_size():
    study = Study(rows_of("none", "batch", seeds=3))
    assert (study.env, study.norms, study.steps, study.seeds) == ("Chain", ["none", "batch"], [1_000, 2_000], 3)
    assert study.learning_batch == 64  # next to 100
    assert study.range(q_noise, "batch", 2_000, 64) == pytest.approx((2 / 8, 1 / 8, 3 / 8, 3, 3))
    assert study.range(target_noise, "batch", 1_000, 64) == pytest.approx((4 / 8, 2 / 8, 6 / 8, 3, 3))
    assert study.range(q_noise, "none", 2_000, 8) == (0, 0, 0, 3, 3)
    assert study.range(score, "none", 1_000, 8) == (2_000, 1_000, 3_000, 3, 3)


def test_norms_with_a_seed_without_a_number_at_the_last_step_are_broken():
    broken = [row for row in rows_of("batch", strength=math.nan) if row.step == STEPS[-1]]
    before = [row for row in rows_of("batch") if row.step == STEPS[0]]
    assert Study(rows_of("none") + before + broken).broken == ["batch"]
    assert Study(rows_of("none", "batch")).broken == []
    assert Study(rows_of("batch", seeds=1) + broken[len(SIZES) :]).broken == ["batch"]  # one of two seeds has numbers


def test_the_table_is_of_the_last_step():
    lines = table(Study(rows_of("none", "batch"))).splitlines()
    assert lines[0] == "| norm | Q, 8 | Q, 64 | Q, 512 | targets, 64 | score |"
    assert lines[2] == "| `none` | 0 | 0 | 0 | 0 | 3e+03 (2e+03–4e+03) |"
    assert lines[3].startswith("| `batch` | 0.53 (0.354–0.707) | 0.188 (0.125–0.25) |")
    assert "Chain, step 2,000, 2 seeds: median (least–greatest)" in lines[-1]
