"""The trial of a search that a job belongs to, handed over to it through any launcher."""

import json
from dataclasses import asdict, dataclass
from typing import Self

from ser.runs.sweep import current_trial


@dataclass(frozen=True)
class TrialOfJob:
    """The trial that a job belongs to; it is handed over as an environment variable.

    Args:
        journal: Path of the journal.
        number: Number of the trial, from 0.
        pruner: Name of the pruner.
        startup: Number of trials before it stops any.
    """

    journal: str
    number: int
    pruner: str
    startup: int

    @classmethod
    def current(cls) -> Self | None:
        """Return the trial of this process's job; None outside of a search."""
        facts = current_trial()
        return cls(**facts) if facts else None

    def to_text(self) -> str:
        """Return the value of the environment variable."""
        return json.dumps(asdict(self))
