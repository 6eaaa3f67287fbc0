"""What every model family implements, and what it receives.

A family is a class with `prepare` and `train`, in one file of `jobs.families`, found by `jobs.registry`. It calls
`load_frame`, `split_of`, `record_run` and a loop, and stays small that way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cbi_queue.artifacts import CHECKPOINT_FOLDER

if TYPE_CHECKING:
    from cbi_queue.protocol import Assignment, Finished, Started
    from cbi_queue.spec import JobSpec
    from jobs.process.channel import Channel


class BrokenSpec(Exception):
    """The job as written cannot run on these data: it ends the same way until one of them is mended."""


class BrokenRuntime(BrokenSpec):
    """The Python that runs the trainer has no such library, or one that does not load."""


class CommandFailed(Exception):
    """A command of the user's own ended with an error; its words are in the log already."""


class CommandKilled(CommandFailed):
    """It was ended by SIGKILL, which we did not send: only the slot can tell whether memory was short."""


class OneFit(Protocol):
    """One fit of a walk-forward run: `jobs.evaluation.walk_forward.Refit`, as far as a family may see it."""

    number: int
    split: Any
    recorded: list[Any]

    @property
    def selects(self) -> bool:
        """True for the first fit, whose length the validation block chooses."""
        ...

    @property
    def folder(self) -> str:
        """Name of the folder for this fit's own checkpoints."""
        ...


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt at one job, as a family sees it."""

    assignment: Assignment
    spec: JobSpec
    channel: Channel
    refit: OneFit | None = None
    """The fit of a walk-forward run that this is; None for the whole run."""
    may_differ: list[str] = field(default_factory=list)
    """Why an undisturbed run could have ended with other numbers, in words: `note_difference` adds to it, and
    `record_run` puts it into the metrics. Empty: the numbers are those of an undisturbed run."""

    def note_difference(self, words: str, *, what: str | None = None) -> None:
        """Note in *words* why the result may differ, unless a reason with *what* (default: all of them) is known."""
        if not any((what or words) in known for known in self.may_differ):
            self.may_differ.append(words)

    @property
    def run_dir(self) -> Path:
        """The run's folder, which exists."""
        return Path(self.assignment.run_dir)

    @property
    def checkpoint_dir(self) -> Path:
        """Where checkpoints of this job (or of its present refit) live, shared by its attempts; may not exist yet."""
        folder = self.run_dir / CHECKPOINT_FOLDER
        return folder / self.refit.folder if self.refit else folder

    @property
    def processed_dir(self) -> Path:
        """The feature cache."""
        return Path(self.assignment.processed_dir)

    @property
    def exports_dir(self) -> Path:
        """The exports that features are built from."""
        return Path(self.assignment.exports_dir)


class Trainer(Protocol):
    """One way to train one model. A new instance, in a new process, per attempt."""

    def prepare(self, task: Task) -> Started:
        """Load data, build the model, restore a checkpoint if there is one; return what is about to be trained.

        Raises:
            BrokenSpec: when the job cannot run as written on this data.
        """
        ...

    def train(self, task: Task) -> Finished:
        """Train, report, obey, score, and fill the run folder (the session writes the manifest).

        Raises:
            StopRequested: after writing a checkpoint where the model can.
        """
        ...
