"""An agent that only records, for tests of the loop and of its callbacks."""

from types import SimpleNamespace

import numpy as np

from agents.acting.policies import Decision
from agents.training.trainer import Callback, Trainer


class Recorder:
    """An agent that writes down what it is given."""

    def __init__(self, overlap=False):
        self.overlap = overlap
        self.acted, self.observed, self.learned, self.followed = [], [], [], []
        self.learner, self.updates = SimpleNamespace(num_updates=0), {}  # by the step after which they are made

    def act(self, timestep, step):
        self.acted.append(step)
        return Decision(np.ones(len(timestep.obs), int))

    def observe(self, timestep, decision):
        self.observed.append((timestep, decision))

    def learn(self, before, after, timestep):
        self.learned.append((before, after))
        self.learner.num_updates += self.updates.get(after, 0)
        self.followed.append(timestep)

    @property
    def num_updates(self):
        return self.learner.num_updates

    def settle(self):
        pass

    def metrics(self, step):
        return {"train/n_updates": step}

    def get_state(self):
        return {"acted": list(self.acted)}

    def set_state(self, state):
        self.acted = list(state["acted"])


class AfterSteps(Callback):
    """Calls a function after each vector step, with the trainer and the steps before."""

    def __init__(self, function):
        self._function = function

    def step(self, trainer, before):
        self._function(trainer, before)


def run(environment, steps, *callbacks):
    trainer = Trainer(Recorder(), environment, seed=3, callbacks=callbacks)
    trainer.run(steps)
    return trainer
