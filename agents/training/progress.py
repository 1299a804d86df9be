"""Progress of a run in a terminal: a progress bar, or plain lines where there is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from tqdm import tqdm


class TerminalProgress:
    """Shows steps, frames (or steps) per second, return and remaining time.

    Args:
        bar: draw a bar instead of a line per row of metrics; by default where stderr is a terminal.
    """

    def __init__(self, bar: bool | None = None) -> None:
        self._shown = sys.stderr.isatty() if bar is None else bar
        self._total, self._bar = 0, tqdm(disable=True)

    def start(self, step: int, total_steps: int) -> None:
        """Show the bar at `step`; it is full where the run is already longer."""
        self._total, step = total_steps, min(step, total_steps)
        hidden = not self._shown
        self._bar = tqdm(total=total_steps, initial=step, disable=hidden, unit=" steps", dynamic_ncols=True)

    def update(self, step: int) -> None:
        """Move the bar."""
        if self._shown:
            self._bar.update(min(step, self._total) - self._bar.n)

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show a row of metrics: next to the bar, or as a line."""
        shown = metrics_line(metrics)
        if not self._shown:
            print(f"step {step:,} of {self._total:,}: {shown}", flush=True)
        elif "eval/mean_reward" in metrics:
            self.message(f"step {step:,}: {shown}")
        else:
            self._bar.set_postfix_str(shown)

    def message(self, text: str) -> None:
        """Print a line without damaging the bar."""
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()

    def close(self) -> None:
        """Stop drawing; the bar stays on the screen."""
        self._bar.close()


NAMES = {
    "rollout/ep_rew_mean": ("return", "{:.1f}"),
    "rollout/exploration_rate": ("epsilon", "{:.2f}"),
    "train/loss": ("loss", "{:.4f}"),
    "time/frames_per_second": ("frames/s", "{:,.0f}"),
    "time/fps": ("steps/s", "{:,.0f}"),
    "eval/mean_reward": ("evaluation return", "{:.1f}"),
    "eval/mean_ep_length": ("evaluation length", "{:.0f}"),
}


def metrics_line(metrics: Mapping[str, float]) -> str:
    """The metrics that a person watches, as one line; steps/s only where there are no frames."""
    if "time/frames_per_second" in metrics:
        metrics = {tag: value for tag, value in metrics.items() if tag != "time/fps"}
    return ", ".join(f"{name} {form.format(metrics[tag])}" for tag, (name, form) in NAMES.items() if tag in metrics)
