"""What is reported where an environment breaks its promises in the middle of a run."""

from __future__ import annotations


class EnvironmentFault(RuntimeError):  # noqa: N818 - a fault of the environment, not of ours
    """An environment failed, or returned what cannot be learned from; its text is one line.

    Args:
        index: of the environment among those that step together; None: not known.
        what: it did, for example ``"returned a reward of nan"``.
        detail: more about it, after a colon.

    Attributes:
        index: as given.
        what: as given.
        detail: as given.
        step: of the run; None until the run sets it.
    """

    def __init__(self, index: int | None, what: str, detail: str = "") -> None:
        super().__init__(index, what, detail)  # these are pickled
        self.index, self.what, self.detail = index, what, detail
        self.step: int | None = None

    def __str__(self) -> str:
        who = "an environment" if self.index is None else f"environment {self.index}"
        when = "" if self.step is None else f" at step {self.step:,}"
        return f"{who} {self.what}{when}{f': {self.detail}' if self.detail else ''}"
