"""The rule by which a job refuses commands of an older plan, and nothing else."""

from __future__ import annotations


class Fence:
    """Every plan has an epoch, and a job refuses an older one: neither two agents nor a late message pull it both ways.

    The commands of one plan share its epoch. An agent begins above all that its journal and the jobs have seen, and says
    so in ``Registered``. A command that comes again is known by its id and answered before its epoch is looked at.

    Attributes
    ----------
    newest
        The newest epoch seen so far.
    """

    def __init__(self, newest: int = 0) -> None:
        self.newest = newest

    def take(self, epoch: int) -> str | None:
        """Take note of an epoch, and say why it is refused; None where it is not."""
        if epoch < self.newest:
            return f"epoch {epoch} is older than {self.newest}, the newest this job has seen"
        self.newest = epoch
        return None
