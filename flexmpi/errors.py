"""The errors FlexMPI raises, and nothing else.

::

    FlexMPIError                      anything this package refuses or gives up on
    ├── ConfigurationError            a file, line or field is not what it should be
    ├── CommandError                  a text command that cannot be carried out
    ├── UsageError                    a program calls the session in a way that has no meaning
    ├── MembershipError               ranks could not join or leave; the application goes on without the change
    ├── LinkError                     a process lost the one it reports to
    ├── MessageError                  bytes between supervisors, people and the agent that are no message of the protocol
    ├── AuthenticationError           who somebody is cannot be proved, or a key file is not safe
    ├── ManagerError                  a resource manager refuses, does not answer or is not understood; in its own words
    └── JournalError                  the agent's journal cannot be opened, read or written

    SystemExit
    └── RankLeaves                    unwinds a rank that leaves the application (exit status 0)

Every message is one line: what was wrong, where, what was expected.
"""

from __future__ import annotations


class FlexMPIError(Exception):
    """Base of every error of this package."""


class ConfigurationError(FlexMPIError):
    """A configuration file or option is not what it should be.

    Parameters
    ----------
    what
        What is wrong and what was expected.
    file, line
        Where, as far as it is known; they lead the message.
    """

    def __init__(self, what: str, *, file: str | None = None, line: int | None = None) -> None:
        where = "" if file is None else f"{file}: " if line is None else f"{file}, line {line}: "
        super().__init__(where + what)


class CommandError(FlexMPIError):
    """A text command that cannot be carried out, with the reason sent back to whoever asked."""


class UsageError(FlexMPIError):
    """A program calls the session in a way that has no meaning."""


class NodeMemoryError(FlexMPIError):
    """A node has no room for rows that are to lie there; says why."""


class MembershipError(FlexMPIError):
    """Ranks could not join or leave; the application goes on without the change."""


class LinkError(FlexMPIError):
    """A process lost the one it reports to, or was refused by it."""


class MessageError(FlexMPIError):
    """Bytes between supervisors, people and the agent that are no message of the protocol; names the field."""


class AuthenticationError(FlexMPIError):
    """Who somebody is cannot be proved, or a key file is not safe to use; says why."""


class ManagerError(FlexMPIError):
    """A resource manager refuses, does not answer within its time limit or is not understood; in its own words."""


class JournalError(FlexMPIError):
    """The agent's journal cannot be opened, read or written; names the file and says why."""


class RankLeaves(SystemExit):
    """Raised by ``Session.iterate`` in a rank that leaves, so that ``with`` and ``finally`` blocks run."""

    def __init__(self) -> None:
        super().__init__(0)
