"""What a run says in the terminal: a progress bar, or plain lines where there is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from tqdm import tqdm

from agents.training.trainer import Trainer


class Progress:
    """A hook that shows steps, frames per second, return and time left.

    Args:
        total: length of the run in steps.
        first: the step at which this session begins.
        frame_skip: emulator frames per step.
        bar: draw a bar; without one, each report is a line.
    """

    def __init__(self, total: int, first: int, frame_skip: int, bar: bool | None = None) -> None:
        self._frame_skip = frame_skip
        self._shown = sys.stderr.isatty() if bar is None else bar
        self._bar = tqdm(
            total=total, initial=min(first, total), disable=not self._shown, unit=" steps", dynamic_ncols=True
        )
        self._total = total

    def __call__(self, trainer: Trainer, before: int) -> None:
        """Move the bar."""
        self._bar.update(min(trainer.steps, self._total) - min(before, self._total))

    def report(self, step: int, figures: Mapping[str, float]) -> None:
        """Show a row of figures: beside the bar, or as a line."""
        shown = summary(figures)
        if not self._shown:
            print(f"step {step:,} of {self._total:,}: {shown}", flush=True)
        elif "eval/mean_reward" in figures:
            self.say(f"step {step:,}: {shown}")
        else:
            self._bar.set_postfix_str(shown)

    def say(self, message: str) -> None:
        """Print a line without harming the bar."""
        tqdm.write(message, file=sys.stdout)
        sys.stdout.flush()

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()


NAMES = {
    "rollout/ep_rew_mean": ("return", "{:.1f}"),
    "rollout/exploration_rate": ("epsilon", "{:.2f}"),
    "train/loss": ("loss", "{:.4f}"),
    "time/frames_per_second": ("frames/s", "{:,.0f}"),
    "eval/mean_reward": ("evaluation return", "{:.1f}"),
    "eval/mean_ep_length": ("evaluation length", "{:.0f}"),
}


def summary(figures: Mapping[str, float]) -> str:
    """The figures that a person watches, in one line."""
    return ", ".join(f"{name} {form.format(figures[tag])}" for tag, (name, form) in NAMES.items() if tag in figures)
