"""An agent that only records, for tests of the loop and of its callbacks."""

import numpy as np

from agents.acting.policies import Decision
from agents.training.trainer import Trainer


class Recorder:
    """An agent that writes down what it is given."""

    def __init__(self, overlap=False):
        self.overlap = overlap
        self.acted, self.observed, self.learned, self.followed = [], [], [], []

    def act(self, timestep, step):
        self.acted.append(step)
        return Decision(np.ones(len(timestep.obs), int))

    def observe(self, timestep, decision):
        self.observed.append((timestep, decision))

    def learn(self, before, after, timestep):
        self.learned.append((before, after))
        self.followed.append(timestep)

    def metrics(self, step):
        return {"train/n_updates": step}

    def get_state(self):
        return {"acted": list(self.acted)}

    def set_state(self, state):
        self.acted = list(state["acted"])


def run(environment, steps, *callbacks):
    trainer = Trainer(Recorder(), environment, seed=3, callbacks=callbacks)
    trainer.run(steps)
    return trainer
