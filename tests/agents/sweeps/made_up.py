"""Trials, and sweeps whose runs are written by hand."""

import json

from agents.sweeps.trials import Trial
from tests.agents.reports.hand_made import curve, write_run


def a_trial(agent="dqn", task="CartPole-v1", norm="weight", seed=0, steps=300, game=False, **options):
    return Trial(agent, task, game, norm, seed, steps, **options)


def finish(folder, trial, scores, step=None):
    """Leave in a sweep's folder what a run of the trial leaves that had these scores."""
    run = write_run(folder.run_of(trial), curve(scores), agent=trial.agent, **settings_of(trial))
    (run / "model.json").write_text(json.dumps({"step": trial.steps if step is None else step}))
    return run


def break_down(folder, trial, scores, step):
    """Leave in a sweep's folder what a run of the trial leaves whose learning broke down."""
    return write_run(folder.run_of(trial), curve(scores), agent=trial.agent, broke_down=step, **settings_of(trial))


def settings_of(trial):
    """Those that name it."""
    return {"norm": trial.norm, "seed": trial.seed, "env": trial.task, "steps": trial.steps, **trial.settings}
