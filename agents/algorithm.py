"""The agents in Python: train, evaluate, act, save and load, without a command line.

from agents import DQN, load

agent = DQN(game="Breakout", norm="weight", seed=0)
agent.learn(1_000_000, run_dir="runs/mine", progress=True)
print(agent.evaluate(episodes=30).mean)
agent = load("runs/mine")
action = agent.predict(obs)
"""

from __future__ import annotations

import gc
import signal
import sys
import warnings
import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np

from agents.acting.player import Player, act_on
from agents.acting.policies import Policy, make_policy
from agents.learner.build import check_discrete
from agents.registry import AGENTS
from agents.runtime.devices import resolve_device
from agents.runtime.seeds import Purpose, generator, integer
from agents.runtime.signals import StopSignal
from agents.settings.flat import PYTHON, replace
from agents.settings.keywords import as_flags, checked_keywords, converted, named_arguments
from agents.settings.presets.protocols import conditions
from agents.settings.run import TrainSettings
from agents.settings.trust import check_trusted
from agents.training.agent_spec import AgentSpec
from agents.training.evaluation import Scores, evaluate
from agents.training.protocols import Progress, PythonWarnings
from agents.training.run import Run
from agents.training.run_directory import NAMES, RunDirectory, in_use, run_of_part
from agents.training.saved_model import SavedModel, find_models, read_saved_model
from agents.training.source import source_of
from agents.training.stored_settings import stored_settings
from agents.training.task import Source, Task
from agents.training.trainer import Callback
from agents.watching.inline_video import InlineVideo
from agents.watching.spectator import Spectator
from agents.watching.video import Video, draw_off_screen, size_for
from wnrl.networks.actor_critic import RecurrentActorCritic
from wnrl.networks.own_torso import OwnModule

Self = TypeVar("Self", bound="Algorithm")
OF_LEARN = {"steps": "the number of steps", "run_dir": "run_dir"}
"""Settings that `learn` takes."""
OF_TORSOS = ("torso", "activation", "impala_width", "impala_blocks", "impala_pool")
"""Settings of the torsos that a network of one's own replaces."""


class Algorithm:
    """An agent with its task: base class of `DQN`, `PQN`, `PPO`, `A2C`, `Reinforce` and `SAC`.

    Args:
        env: the id of an environment of Gymnasium; a class or function that makes one (called once for each of the
            `num_envs` environments); or an environment, which is copied. Either this or `game`.
        game: an Atari game, ``Breakout`` for example.
        network: a module of one's own from observations to features, or a function that makes one from the shape of an
            observation, instead of the setting `torso`; it is normalized as `norm` says, see
            `wnrl.networks.own_torso.OwnTorso`.
        settings: any flag of the training command by its name, `norm="weight"`, `seed=1`, `learning_rate=1e-3`, …;
            those that are left out have the defaults of the command line: of the preset, which depends on the task.

    Attributes:
        settings: of the run and of the agent, as `learn` uses them.

    Raises:
        TypeError: an unknown setting, or a value of the wrong type.
        ValueError: a value out of its range, no task, one that the agent cannot learn, or a device that is not there.
    """

    spec: ClassVar[AgentSpec]
    _discrete: ClassVar[bool] = False  # whether it needs a value or probability of each action

    def __init__(
        self, env: Any = None, *others: Any, game: str | None = None, network: OwnModule | None = None, **settings: Any
    ) -> None:
        if others:
            raise TypeError(f"an agent takes one task and no policy: {type(self).__name__}(env={others[0]!r}, …)")
        for name, what in OF_LEARN.items():
            if name in settings:
                raise TypeError(f"{name} is no setting here: give {what} to learn()")
        if "resume" in settings:
            raise TypeError("resume is no setting here: load() the run, and learn() goes on")
        if "trust" in settings:
            raise TypeError("trust is no setting here: load() takes it")
        if "config" in settings:
            raise TypeError("config is a file for the command line: give its settings here")
        if (game is None) == (env is None):
            raise ValueError('name the task: game="Breakout" for Atari or env="CartPole-v1", one of the two')
        source: Source | None = None
        task: dict[str, Any] = {"game": game}
        if env is not None:
            name, source = source_of(env)
            task = {"env": name}
        if network is not None:
            if unused := [name for name in OF_TORSOS if name in settings]:
                raise TypeError(f"{unused[0]} has no effect on a network of your own: leave one of the two out")
            task["own_torso"] = network
        self._given = checked_keywords(self._kind(), {**settings, **task})
        probed = Task.of(self._given, source)
        probed.remark  # noqa: B018 - refuses an unknown game
        self._observation = probed.observation
        if self._discrete and probed.probe().num_actions == 0:
            check_discrete(probed.probe(), type(self).__name__)
        self._restore(self._settings_for(None), probed)
        if self.settings.run.device != "auto":
            resolve_device(self.settings.run.device)

    def _restore(self, settings: TrainSettings[Any], probed: Task) -> None:
        """What a new agent and a loaded one have; an environment is made to look at for `probed` once at most."""
        self.settings, self._probed = settings, probed
        self._run: Run | None = None  # made by the first learn, or for predictions before it
        self._learns, self._closed = False, False  # whether that run has begun, and whether it is closed
        self._model: SavedModel | None = None  # loaded, as long as there is no run
        self._policies: dict[bool, Policy] = {}
        self._players: weakref.WeakSet[Player] = weakref.WeakSet()

    # Settings

    @classmethod
    def _kind(cls) -> Any:
        return TrainSettings[cls.spec.settings]  # type: ignore[name-defined]

    def _settings_for(self, steps: int | None) -> TrainSettings[Any]:
        """The settings of a run of that length; None: of the preset's."""
        given = self._given if steps is None else {**self._given, "steps": steps}
        base = self.spec.defaults(as_flags(given), observation=self._observation)
        return replace(base, **given)

    @property
    def task(self) -> Task:
        """What it learns."""
        settings = self.settings.run.task
        return self._probed if settings == self._probed.settings else Task(settings, self._probed.source)

    @property
    def run_dir(self) -> Path | None:
        """Folder of its run; None where nothing is written, or nothing has been learned yet."""
        return self._run.directory.path if self._run and self._run.directory else self.settings.run.run_dir

    @property
    def steps(self) -> int:
        """Steps learned so far, or those of the model that was loaded."""
        if self._run is not None:
            return self._run.steps
        return 0 if self._model is None else self._model.description["step"]

    # Learning

    @named_arguments
    def learn(
        self: Self,
        steps: int,
        *,
        run_dir: str | Path | None = None,
        callbacks: Callback | Sequence[Callback] = (),
        progress: bool | Progress = False,
    ) -> Self:
        """Learn for so many more steps; a further call goes on, with the same curves.

        Schedules end with the first call, or at the setting `schedule_steps`. Ctrl-C, or the interrupt of a notebook,
        ends it at the next step as if it had been that long, with a checkpoint, and then raises KeyboardInterrupt.

        Args:
            steps: of all environments together.
            run_dir: folder for metrics, checkpoints and models, see `load`; by default nothing is written. That of the
                first call is used by the next.
            callbacks: during this call.
            progress: a bar, or lines where there is no terminal; or a display of one's own. Without, what goes wrong,
                such as a checkpoint that cannot be written, is a warning.

        Returns:
            The agent itself.

        Raises:
            TypeError: a callback is none.
            ValueError: the folder holds another run, or the settings do not fit the task or the machine.
            RuntimeError: the agent is closed.
            KeyboardInterrupt: after an interrupt, with all that was learned kept.
        """
        (steps,) = checked_keywords(self._kind(), {"steps": steps}).values()
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        callbacks = _checked(callbacks)
        if progress is True:
            from agents.training.progress import TerminalProgress  # tqdm warns in a notebook without widgets

            progress = TerminalProgress()
        shown: Progress = progress or PythonWarnings()
        run = self._begun(steps, run_dir, shown)
        run.progress = shown
        run.set_callbacks(callbacks)
        _warn_of_no_learning(run, run.steps + steps)
        with interrupts() as interrupted:
            run.stop = interrupted
            run.learn(run.steps + steps)
        if interrupted():
            kept = f", with a checkpoint in {run.directory.path}" if run.directory else ""
            raise KeyboardInterrupt(f"stopped at step {run.steps:,}{kept}: learn() goes on")
        return self

    def _begun(self, steps: int, run_dir: str | Path | None, progress: Progress) -> Run:
        """The run, which the first call makes."""
        path, resume = None if run_dir is None else Path(run_dir), self.settings.run.resume
        self._check_open()
        if self._learns or resume is not None:
            own = resume or (self._run.directory.path if self._run and self._run.directory else None)
            if path is not None and (own is None or path.resolve() != own.resolve()):
                raise ValueError(f"this run is written to {own or 'no folder'}: run_dir belongs to the first learn()")
        elif path is not None and in_use(path):
            raise ValueError(f"{path} already holds files: choose another run_dir, or go on with load({str(path)!r})")
        if not self._learns:
            self._release()
            if resume is None:
                self.settings = replace(self._settings_for(steps), run_dir=path)
            elif self.settings.run.schedule_steps is None:  # it was saved before it had begun
                self.settings = replace(self.spec.for_length(self.settings, steps), schedule_steps=steps)
            keep = path is not None or resume is not None
            self._run = Run(self.spec, self.settings, task=self.task, keep=keep, more=steps, progress=progress)
            self._learns, self._model = True, None
            for player in self._players:  # they follow the network that learns from now on
                player.reset()
        assert self._run is not None
        return self._run

    def save(self, path: str | Path) -> None:
        """Write a folder from which `load` reads the agent: settings, model, and a checkpoint from which it goes on.

        A run with a `run_dir` has all that in its folder already.

        Raises:
            ValueError: the folder holds files already, or cannot be written to.
        """
        if in_use(Path(path)):
            raise ValueError(f"{path} already holds files: choose another folder")
        if self._model is not None:
            raise ValueError(f"it was loaded from {self.settings.run.resume}: copy that folder, or learn() first")
        self._running().save(Path(path))

    # Acting

    @named_arguments
    def predict(self, obs: Any, *, deterministic: bool = False) -> Any:
        """The actions for observations, without a memory of earlier ones.

        Args:
            obs: one observation as the environment gives it, or a batch of them.
            deterministic: take the most probable or greedy actions; by default they are sampled from a policy, and
                ε-greedy with the ε of evaluation in value agents.

        Returns:
            The action as the environment takes it, or `[B, ...]` of them. (stable-baselines3 returns a tuple.)

        Raises:
            ValueError: the agent is recurrent, and needs a `player`; or the shape is another one.
        """
        if deterministic not in self._policies:
            self._policies[deterministic] = self._policy(deterministic)
        if self._recurrent:
            raise ValueError("a recurrent agent acts by what it saw before: player = agent.player(), then player(obs)")
        rows, single = self._rows(obs)
        action = self._probed.probe().actions(self._policies[deterministic](act_on(rows, np.ones(len(rows), np.bool_))))
        return action[0] if single else action

    @named_arguments
    def player(self, *, deterministic: bool = False) -> Player:
        """A player of games, which keeps the state of a recurrent network; `deterministic` as in `predict`."""
        draws = generator(self.settings.run.seed, Purpose.GAMES_POLICY, 1)  # goes on from game to game
        player = Player(lambda: self._policy(deterministic, draws), self._rows, self._probed.probe().actions)
        self._players.add(player)
        return player

    def _rows(self, obs: Any) -> tuple[np.ndarray, bool]:
        """Observations as rows, see `Interface.rows`."""
        try:
            return self._probed.probe().rows(obs)
        except ValueError:
            if isinstance(obs, tuple) and len(obs) in (2, 5) and isinstance(obs[-1], dict):
                returned, method = ("obs, info", "reset") if len(obs) == 2 else ("obs, reward, ...", "step")
                raise ValueError(f"that is all of what {method}() returns, ({returned}): give obs alone") from None
            raise

    @named_arguments
    def evaluate(
        self, episodes: int = 30, *, seed: int = 0, num_envs: int = 8, deterministic: bool | None = None
    ) -> Scores:
        """True scores of whole games, as ``wnrl evaluate`` plays them.

        Args:
            episodes: number of games.
            seed: of the games, which are none of those of the training, and of the exploration.
            num_envs: games played in parallel.
            deterministic: as in `predict`; None: as the settings say for evaluations (`eval_epsilon`, `eval_sample`).

        Raises:
            TypeError: a number that is not whole.
            ValueError: no game is asked for.
        """
        episodes, seed = converted("episodes", episodes, int), converted("seed", seed, int)
        num_envs = converted("num_envs", num_envs, int)
        if min(episodes, num_envs) < 1:
            raise ValueError(f"episodes and num_envs must be at least 1, got {episodes} and {num_envs}")
        draws = generator(seed, Purpose.GAMES_POLICY)
        policy, play = self._policy(deterministic, draws), self._play(deterministic)
        with closing(self.task.evaluation(min(num_envs, episodes))) as environment:
            games = evaluate(policy, environment, episodes=episodes, seed=integer(seed, Purpose.GAMES))
        game = self.settings.run.task.game
        return Scores.of(games, game, conditions(self.task.describe(), play))

    @named_arguments
    def watch(
        self,
        episodes: int = 1,
        *,
        seed: int = 0,
        deterministic: bool | None = None,
        values: bool = False,
        fps: float | None = None,
        seconds: float = 60.0,
    ) -> InlineVideo:
        """Whole games as a video that a notebook shows in its place, as `wnrl watch` plays them.

        Args:
            episodes: number of games, one after the other.
            seed: of the games, which are none of those of the training, and of the exploration.
            deterministic: as in `evaluate`.
            values: draw Q values or action probabilities beside the picture.
            fps: pictures a second at most; by default that of the environment.
            seconds: length of the video at most; the game in which it ends is not played further.

        Raises:
            TypeError: a number that is not whole.
            ValueError: no game, picture or time is asked for, the environment has no pictures, what writes videos is
                not installed, or the folder of temporary files is full.
        """
        episodes, seed = converted("episodes", episodes, int), converted("seed", seed, int)
        if episodes < 1 or seconds <= 0 or (fps is not None and fps <= 0):
            raise ValueError(f"episodes, seconds and fps must be above 0, got {episodes}, {seconds} and {fps}")
        draw_off_screen()
        with TemporaryDirectory() as folder, closing(self.task.evaluation(1, render_mode="rgb_array")) as environment:
            path = Path(folder) / "game.mp4"
            video = Video(path, environment.render_fps, fps=fps, seconds=seconds)
            spectator = Spectator(environment, video, values=values, size=size_for(path, values))
            draws = generator(seed, Purpose.GAMES_POLICY)
            policy = spectator.watching(self._policy(deterministic, draws, seen=spectator.see))
            games = evaluate(
                policy,
                environment,
                episodes=episodes,
                seed=integer(seed, Purpose.GAMES),
                watch=spectator.watch,
                stopped=lambda: video.full,
            )
            return InlineVideo(video.close().read_bytes(), tuple(game.score for game in games))

    def _policy(self, deterministic: bool | None, rng: np.random.Generator | None = None, **options: Any) -> Policy:
        """The policy of now: of the run, or of the loaded model; `options` are further ones of `make_policy`."""
        if rng is None:
            rng = generator(self.settings.run.seed, Purpose.GAMES_POLICY, 1)
        if self._model is not None:
            return make_policy(self._model.network, rng, **self._play(deterministic), **options)
        agent = self._running().agent
        return make_policy(agent.newest(), rng, agent.learner.autocast, **self._play(deterministic), **options)

    def _play(self, deterministic: bool | None) -> dict[str, Any]:
        """Options of `make_policy`."""
        if self._model is not None:
            play = dict(self._model.description["play"])
        else:
            play = self._running().agent.evaluation_options
        if deterministic is None:
            return play
        return {"sample": not deterministic} if "sample" in play else {"epsilon": 0.0} if deterministic else play

    @property
    def _recurrent(self) -> bool:
        network = self._running().agent.acting if self._model is None else self._model.network
        return isinstance(network, RecurrentActorCritic)

    def _running(self) -> Run:
        """The run; before anything is learned, one that is never begun, whose network has the same initial weights."""
        self._check_open()
        if self._run is None:
            kept = self.settings.run.resume is not None
            self._run = Run(
                self.spec, self.settings, task=self.task, keep=kept, more=0 if kept else None, progress=PythonWarnings()
            )
        return self._run

    # Its end

    def close(self) -> None:
        """Stop the emulators and release the replay buffer; an agent that has learned is not used afterwards."""
        self._closed = self._learns
        self._release()

    def _check_open(self) -> None:
        if self._closed:
            advice = f": load({str(self.run_dir)!r})" if self.run_dir else ""
            raise RuntimeError(f"the agent is closed{advice}")

    def _release(self) -> None:
        self._policies.clear()
        if self._run is not None:
            self._run.close()
            self._run = None
            gc.collect()  # its parts refer to each other

    def __getstate__(self) -> dict[str, Any]:
        """Of copies and pickles.

        Raises:
            TypeError: it has a run, with threads and emulators.
        """
        if self._run is not None:
            advice = f"load({str(self.run_dir)!r})" if self.run_dir else "save(FOLDER) it, and load(FOLDER)"
            raise TypeError(f"a {type(self).__name__} that learns or acts cannot be copied or pickled: {advice}")
        return {name: value for name, value in vars(self).items() if name != "_players"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """As it was; its players stay with the other one."""
        vars(self).update(state)
        self._players = weakref.WeakSet()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_run", None) is not None and not sys.is_finalizing():
            self.close()


class DQN(Algorithm):
    """The DQN family up to Rainbow and IQN: double, dueling, n-step, prioritized, noisy, distributional, Munchausen.

    Arguments as in `Algorithm`; its own settings are those of `agents.settings.dqn.DQNSettings`.
    """

    spec = AGENTS["dqn"]
    _discrete = True


class PQN(Algorithm):
    """Parallel Q-learning with λ-returns, without replay buffer or target network (Gallici et al. 2024).

    Arguments as in `Algorithm`; its own settings are those of `agents.settings.pqn.PQNSettings`.
    """

    spec = AGENTS["pqn"]
    _discrete = True


class PPO(Algorithm):
    """Proximal policy optimization (Schulman et al. 2017), discrete or continuous; recurrent with `lstm=128`.

    Arguments as in `Algorithm`; its own settings are those of `agents.settings.policy_gradient.PPOSettings`.
    """

    spec = AGENTS["ppo"]


class A2C(Algorithm):
    """Advantage actor-critic (Mnih et al. 2016), discrete or continuous.

    Arguments as in `Algorithm`; its own settings are those of `agents.settings.policy_gradient.A2CSettings`.
    """

    spec = AGENTS["a2c"]


class Reinforce(Algorithm):
    """REINFORCE with a baseline (Williams 1992), on whole episodes, discrete or continuous.

    Arguments as in `Algorithm`; its own settings are those of `agents.settings.policy_gradient.REINFORCESettings`.
    """

    spec = AGENTS["reinforce"]


class SAC(Algorithm):
    """Discrete soft actor-critic (Christodoulou 2019).

    Arguments as in `Algorithm`; its own settings are those of `agents.settings.sac.SACSettings`.
    """

    spec = AGENTS["sac"]
    _discrete = True


ALGORITHMS: dict[str, type[Algorithm]] = {kind.spec.name: kind for kind in (DQN, PQN, PPO, A2C, Reinforce, SAC)}
"""By the name that a run's `config.json` has."""


@named_arguments
def load(
    run_dir: str | Path,
    *,
    model: Literal["last", "best"] = "last",
    device: str = "auto",
    env: Any = None,
    network: OwnModule | None = None,
    trust: bool = False,
) -> Algorithm:
    """The agent of a run: it predicts and evaluates with the run's model, and `learn` goes on from its last checkpoint.

    Args:
        run_dir: folder of the run.
        model: the last one, or that of the best evaluation in training, a choice that flatters; `learn` goes on from
            the last checkpoint either way.
        device: of the networks.
        env: for a run in an environment that Python made: its class, a function that makes one, or one.
        network: for a run of an agent that was made with one: the same.
        trust: whether the module that its environment's id names (`my_module:Maze-v0`) may be imported, which runs its
            code, and a model of any size be read; it is your own run, or of someone whom you trust.

    Raises:
        ValueError: there is no such run or model, its environment or network is missing here, or it is not trusted.
    """
    path = Path(run_dir)
    if model not in NAMES:
        raise ValueError(f"model must be {' or '.join(map(repr, NAMES))}, got {model!r}")
    if (folder := run_of_part(path)) is not None:
        best = ", model='best'" if path.stem == "best" else ""
        raise ValueError(f"{path} is in the folder of a run: load({str(folder)!r}{best})")
    config = RunDirectory.open(path).config
    if config.get("agent") not in ALGORITHMS or "library" in config:
        raise ValueError(
            f"{path} is a run of {config.get('library', 'another library')}: wnrl.sb3.load_policy reads it"
        )
    kind = ALGORITHMS[config["agent"]]
    agent = kind.__new__(kind)
    settings = replace(stored_settings(kind.spec, path), device=device, trust=trust)
    own_env, own_network = settings.run.task.env or "", settings.run.network.own_torso
    if env is not None and (isinstance(env, str) or not own_env.startswith(PYTHON)):
        raise ValueError(f"{path} learned in {settings.run.task.name}: env is for one that was made in Python")
    if env is None and not trust:
        check_trusted(path, settings.run.task.env, settings.run.task.env_options)
    if network is not None:
        if own_network is None:
            raise ValueError(f"the network of {path} was not made in Python: leave network out")
        settings = replace(settings, own_torso=network)
    task = Task(settings.run.task, None if env is None else source_of(env)[1])
    task.check_source()
    agent._restore(settings, task)
    found = find_models(path)
    if found and model not in found:
        advice = f"learn() longer, or load it with model={found[0]!r}"
        raise ValueError(f"{path} has no {NAMES[model]}.safetensors yet: {advice}")
    if model == "best" or found or not any((path / "checkpoints").glob("*")):
        agent._model = read_saved_model(path, model, resolve_device(device), network, trust=trust or env is not None)
        shape, learned = task.probe().obs_shape, tuple(agent._model.description["network"]["obs_shape"])
        if shape != learned:
            raise ValueError(f"{path} learned from observations {list(learned)}, its environment has {list(shape)} now")
    return agent


def _checked(callbacks: Callback | Sequence[Callback]) -> Sequence[Callback]:
    """One or several callbacks, as a sequence."""
    found = [callbacks] if isinstance(callbacks, Callback) or not isinstance(callbacks, Sequence) else callbacks
    for callback in found:
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks must be objects of subclasses of agents.Callback, got {callback!r}")
    return found


def _warn_of_no_learning(run: Run, until: int) -> None:
    """A warning where all steps are random, or would be learned from with a learning rate or clip range of 0."""
    if warm_up := run.warm_up_of(until):
        warnings.warn(
            f"nothing will be learned: all steps until {warm_up:,} are random, see the setting learning_starts",
            stacklevel=4,  # learn, and its wrapper
        )
    if idle := run.learns_nothing(until):
        end, what = run.settings.run.schedule_end, idle.replace("_", " ")
        warnings.warn(
            f"the {what} is 0 after step {end:,}, where the schedules ended: make the agent with "
            f'schedule_steps, or with {idle}_schedule="constant", to learn longer',
            stacklevel=4,
        )


def interrupts() -> AbstractContextManager[StopSignal]:
    """A context in which Ctrl-C asks for a stop; nothing but in the main thread, since others get no signals."""
    return StopSignal(signals=(signal.SIGINT,))
