"""What every training run is told, whatever its agent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from agents.learner.optimizers import OptimizerName
from agents.runtime.devices import Precision
from wnrl.networks.q_network import TorsoName
from wnrl.weight_norm.dense import Units

Init = Literal["preserve", "data", "analytic", "he"]


class Settings:
    """Base of the dataclasses of settings: each class of a combination checks its own fields in `check`."""

    def __post_init__(self) -> None:
        for kind in reversed(type(self).__mro__):
            if "check" in vars(kind):
                vars(kind)["check"](self)


def check_at_least(settings: object, least: float, *names: str) -> None:
    """Raise ValueError where one of these fields is below `least`."""
    for name in names:
        if getattr(settings, name) < least:
            rule = "not be negative" if least == 0 else f"be at least {least:g}"
            raise ValueError(f"{name} must {rule}, got {getattr(settings, name)}")


def check_above_zero(settings: object, *names: str) -> None:
    """Raise ValueError where one of these fields is 0 or below."""
    for name in names:
        if getattr(settings, name) <= 0:
            raise ValueError(f"{name} must be above 0, got {getattr(settings, name)}")


def check_shares(settings: object, *names: str) -> None:
    """Raise ValueError where one of these fields lies outside of [0, 1]."""
    for name in names:
        if not 0 <= getattr(settings, name) <= 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {getattr(settings, name)}")


def check_used(settings: Any, used: bool, condition: str, *names: str) -> None:
    """Raise ValueError where one of these fields was given a value of its own that nothing would use."""
    for name in names:
        value, default = getattr(settings, name), type(settings).__dataclass_fields__[name].default
        if not used and value != default:
            raise ValueError(f"{name} {value} has no meaning without {condition}: leave it out")


def check_start(settings: Any, num_envs: int) -> None:
    """Refuse a first update that comes before each environment has made `n_step` steps."""
    least = settings.n_step * num_envs - settings.train_interval + 1
    if settings.learning_starts < least:
        raise ValueError(
            f"learning_starts must be at least {least} for {num_envs} environments and transitions of "
            f"{settings.n_step} steps, got {settings.learning_starts}"
        )


@dataclass(frozen=True)
class RunSettings(Settings):
    """The task, the network, the length of a run, and what is written while it goes on."""

    game: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Atari game as Gymnasium names it (Breakout) or its ROM id (breakout)."""
    env: Annotated[str | None, tyro.conf.arg(metavar="ID")] = None
    """Any other Gymnasium id (CartPole-v1), instead of --game."""
    norm: str = "weight"
    """Normalizer of the network: none, weight, mean-batch, batch, layer, projected or spectral."""
    units: Units = "sqrt"
    """Units of g: sqrt stores it per square root of a row's inputs, paper as the paper writes it, log its logarithm."""
    normalize_output: bool | None = None
    """Normalize the output layer too; None does as the normalizer's source does."""
    torso: TorsoName = "auto"
    """Network before the heads: nature or impala (images), mlp, or auto: nature for images, mlp for anything else."""
    impala_width: int = 1
    """Factor on the channels of --torso impala."""
    impala_blocks: int = 2
    """Residual blocks per stage of --torso impala."""
    activation: Literal["relu", "tanh"] = "relu"
    """Nonlinearity of an mlp torso."""
    hidden: tuple[int, ...] = (512,)
    """Widths of the fully connected layers (exactly one for images)."""
    preset: str = "fast"
    """Where the defaults come from: fast is the best we know; train_dqn.py also has nature, paper and rainbow."""
    steps: int = 10_000_000
    """Length of the run in steps, one step being one decision in one environment (4 frames on Atari)."""
    num_envs: int = 8
    """Environments played in lockstep."""
    seed: int = 0
    """Seed of everything that is drawn at random."""
    device: str = "auto"
    """cpu, cuda, cuda:1, or auto (CUDA where there is one)."""
    precision: Precision = "auto"
    """Type of the torso's products; auto is bfloat16 for images where the hardware has it. All else is float32."""
    compile: bool = False
    """Compile the network that learns (torch.compile): seconds at the start, kept on disk for the next run; what is
    gained depends on the machine, on 2 cores next to nothing."""
    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of this run; the default is runs/GAME-AGENT-NORM-sSEED-TIME."""
    resume: Annotated[Path | None, tyro.conf.arg(metavar="RUN_DIR")] = None
    """Folder of a run to go on with; its own settings are the defaults then."""
    log_interval: int = 10_000
    """Steps between two rows of figures."""
    eval_interval: int = 250_000
    """Steps between two evaluations; 0 never evaluates."""
    eval_episodes: int = 10
    """Whole games per evaluation."""
    eval_steps: int = 0
    """Evaluate for so many steps instead of a number of games; 0 counts games."""
    checkpoint_interval: int = 500_000
    """Steps between two checkpoints; 0 writes one at the end only."""
    life_loss: bool = True
    """Atari: a lost life ends the return in training (scores are of whole games always)."""
    noop_max: int = 30
    """Atari: up to so many no-op frames begin a game."""
    fire_reset: bool = True
    """Atari: press fire when a game begins, where the game has that button."""
    sticky_actions: float = 0.0
    """Atari: probability that a frame repeats the action before."""
    full_action_set: bool = False
    """Atari: all 18 actions instead of those that the game uses."""
    max_frames: int = 108_000
    """Atari: a game is cut after so many frames (30 minutes)."""

    def check(self) -> None:
        """Refuse values out of range."""
        if (self.game is None) == (self.env is None):
            raise ValueError("name the task: --game Breakout for Atari or --env CartPole-v1, one of the two")
        check_at_least(self, 1, "steps", "num_envs", "eval_episodes", "log_interval")
        check_at_least(self, 0, "seed", "eval_interval", "eval_steps", "checkpoint_interval", "noop_max")
        check_shares(self, "sticky_actions")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden takes widths of at least 1, got {self.hidden}")

    @property
    def task(self) -> str:
        """The game's or environment's name as it was given."""
        return self.game or self.env or ""


@dataclass(frozen=True)
class LearnerSettings(Settings):
    """How a network's parameters are moved, and from where."""

    learning_rate: float = 1e-4
    """Step size of the optimizer, at the start where it falls."""
    learning_rate_schedule: Literal["auto", "constant", "linear"] = "auto"
    """Linear lets the step size fall to 0 at the end of the run; auto is linear for --norm projected, whose effective
    step size nothing else lowers, and constant for all others."""
    optimizer: OptimizerName = "adam"
    """Optimizer by name; rmsprop is centred (Mnih et al. 2015), rmsprop-a2c is not (the published code of A2C)."""
    beta1: float = 0.9
    """Decay of the gradient's running mean (Adam, Adamax, RAdam), per update."""
    optimizer_eps: float = 1e-8
    """Added to the optimizer's denominator, in units of the gradient."""
    max_grad_norm: float = 10.0
    """The gradient of all parameters together is scaled down to this norm; 0 leaves it."""
    gamma: float = 0.99
    """Discount per step."""
    reward_clip: float = 1.0
    """Rewards are clipped to this size for learning, scores are not; 0 leaves them."""
    init: Init = "preserve"
    """Initial weights: preserve (the agent's usual ones), data (units start at mean 0, variance 1 on what was played
    first), analytic (activations keep their norm) or he (uniform, bias 0.1)."""
    graphs: bool | None = None
    """Launch acting and gradient steps as CUDA graphs, captured once; None does so on CUDA, where they can be."""

    def check(self) -> None:
        """Refuse values out of range."""
        check_above_zero(self, "learning_rate")
        check_shares(self, "gamma", "beta1")
        check_at_least(self, 0, "optimizer_eps", "max_grad_norm", "reward_clip")


@dataclass(frozen=True)
class ReplaySettings(Settings):
    """How an agent that learns from a replay uses the machine: what it learns does not depend on it."""

    overlap: bool = True
    """Update while the environments make their next step, which is not in the replay then in either order: the run is
    the same to the bit."""


@dataclass(frozen=True)
class ExplorationSettings(Settings):
    """The share of random actions of an agent that values actions."""

    epsilon_start: float = 1.0
    """Share of random actions when learning starts."""
    epsilon_end: float = 0.05
    """Share of random actions at the end of the slope."""
    epsilon_steps: int = 100_000
    """Length of the slope of epsilon, in steps from the start of learning."""
    eval_epsilon: float = 0.05
    """Share of random actions in evaluation."""

    def check(self) -> None:
        """Refuse values out of range."""
        check_shares(self, "epsilon_start", "epsilon_end", "eval_epsilon")
        check_at_least(self, 0, "epsilon_steps")


def emulator_options(settings: RunSettings) -> dict[str, Any]:
    """The settings that only an Atari game has, as `envs.make` takes them; empty for other environments."""
    if settings.game is None:
        return {}
    names = ("noop_max", "fire_reset", "sticky_actions", "full_action_set", "max_frames")
    return {name: getattr(settings, name) for name in names}
