import math
from dataclasses import replace

import pytest
from noise_study import noise_rows
from noise_study.companies import Deviation, Noise
from noise_study.noise_rows import NoiseRows, complete
from noise_study.noise_runs import NoiseRow, NoiseRun, Plan

RUN = NoiseRun("Chain", "batch", seed=0, steps=100, learning_rate=1e-3, states=2, companies=3)
PLANS = [Plan(replace(RUN, seed=seed), (50, 100), (8, 16)) for seed in range(3)]


def made(plan, score=1 / 3):
    """Rows of a run that was never trained."""
    return [
        NoiseRow(plan.run, step, size, Noise(Deviation(1 / size, step), Deviation(0.0, 1.0)), score, 8)
        for step in plan.steps
        for size in plan.batch_sizes
    ]


@pytest.fixture
def trained(monkeypatch):
    """The seeds of the runs that are trained, in order."""
    seeds = []

    def train(plan):
        seeds.append(plan.run.seed)
        return made(plan)

    monkeypatch.setattr(noise_rows, "train", train)
    return seeds


def silent(line):
    pass


def test_rows_come_back_exactly(tmp_path):
    path = tmp_path / "new" / "noise.csv"
    preset = Plan(replace(RUN, learning_rate=None), (50,), (8,))
    rows = NoiseRows(path)
    for plan in (PLANS[0], preset):
        rows.add(made(plan))
    back = NoiseRows(path)
    assert back.of(PLANS[0]) == made(PLANS[0])
    assert back.of(preset) == made(preset)
    assert path.read_text().splitlines()[1].startswith("Chain,batch,0,100,0.001,2,3,50,8,0.0025,0.125,50")
    assert not back.has(PLANS[1])


def test_a_run_without_a_finished_game_has_no_score(tmp_path):
    path = tmp_path / "noise.csv"
    NoiseRows(path).add(made(PLANS[0], score=math.nan))
    assert math.isnan(NoiseRows(path).of(PLANS[0])[0].score)


def test_what_is_there_is_not_trained_again(tmp_path, trained):
    path, said = tmp_path / "noise.csv", []
    complete(NoiseRows(path), PLANS[:2], jobs=1, say=said.append)
    rows = complete(NoiseRows(path), PLANS, jobs=1, say=silent)
    assert trained == [0, 1, 2]
    assert rows == [row for plan in PLANS for row in made(plan)]
    assert said[1] == "2 of 2: Chain, batch, seed 1: score 0.3333, noise of Q 0.0013 at batch size 8"
    more = [plan._replace(batch_sizes=(8, 16, 32)) for plan in PLANS[:1]]
    complete(NoiseRows(path), more, jobs=1, say=silent)
    assert trained == [0, 1, 2, 0]
    assert path.read_text().count("\n") == 1 + 6 + 4 + 4


def test_an_interruption_loses_no_run(tmp_path, trained):
    path = tmp_path / "noise.csv"

    def interrupt(line):
        if line.startswith("2 of 3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        complete(NoiseRows(path), PLANS, jobs=1, say=interrupt)
    assert [NoiseRows(path).has(plan) for plan in PLANS] == [True, True, False]


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "env,norm\nChain\n"])
def test_another_file_is_refused(text, tmp_path):
    path = tmp_path / "noise.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match="was made by something else: choose another folder"):
        NoiseRows(path)
    assert path.read_text() == text


def test_what_cannot_be_read_or_written_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="cannot read"):
        NoiseRows(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot"):
        NoiseRows(tmp_path / "file" / "noise.csv").add(made(PLANS[0]))
