"""Trials, and sweeps whose runs are written by hand."""

import json

from agents.sweeps.trials import Trial
from tests.agents.reports.hand_made import curve, write_run


def a_trial(agent="dqn", task="CartPole-v1", norm="weight", seed=0, steps=300, game=False, **options):
    return Trial(agent, task, game, norm, seed, steps, **options)


def finish(folder, trial, scores, step=None):
    """Leave in a sweep's folder what a run of the trial leaves that had these scores."""
    own = {"norm": trial.norm, "seed": trial.seed, "env": trial.task, **trial.settings}
    run = write_run(folder.run_of(trial), curve(scores), agent=trial.agent, **own)
    (run / "model.json").write_text(json.dumps({"step": trial.steps if step is None else step}))
    return run
