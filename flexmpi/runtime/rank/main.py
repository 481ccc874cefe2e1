"""The main program of a rank: runs the user's script as ``__main__`` and tells the node launcher how it ended.

Standard library only, so that the script decides what is imported, and when.
"""

from __future__ import annotations

import atexit
import os
import runpy
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from flexmpi.errors import LinkError
from flexmpi.protocol.rank_start import MODULE
from flexmpi.runtime.communication import link as links
from flexmpi.runtime.rank import inheritance, untouched, written_files


def main() -> None:
    """Run ``SCRIPT [ARGS…]`` or ``-m MODULE [ARGS…]``, in a process that dies with its shim; the exit status is the program's."""
    inheritance.settle()
    run()


def run() -> None:
    """Run the script, in a process that dies with its launcher and has settled what its own children inherit."""
    place = inheritance.place()
    try:
        line = links.open_to(str(place.socket))
    except LinkError:
        # The job has ended while this rank was starting; why has been said.
        sys.exit(1)
    _print_into_own_pipes(place.folder, place.number)
    own = os.getpid()
    line.send("hello", pset=int(inheritance.told["FLEXMPI_PSET"]), local_rank=place.number, pid=own)
    sys.argv = sys.argv[1:]
    for stream in (sys.stdout, sys.stderr):
        # Whole lines, under PYTHONUNBUFFERED too, for those of the ranks of a process set come through one pipe.
        stream.reconfigure(line_buffering=True, write_through=False)  # type: ignore[union-attr]
    untouched.remember()
    if inheritance.pipes:
        written_files.own.watch()
    status, failure, said = 0, None, None
    try:
        _run_program()
    except SystemExit as end:
        status, said = _exit_status(end), end.code if isinstance(end.code, str) else None
    except BaseException as error:
        status, failure = 1, error
    if os.getpid() != own:
        _end_child(status, failure)
    if status:
        _report_failure(line, status, failure, said=said)
    line.send("bye")


def _run_program() -> None:
    """Run a script, or after ``-m`` a module, as Python does with its own command line."""
    if sys.argv[0] == MODULE:
        del sys.argv[0]
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(sys.argv[0]).resolve().parent))
        runpy.run_path(sys.argv[0], run_name="__main__")


def _end_child(status: int, failure: BaseException | None) -> NoReturn:
    """End a process that the program has forked and lets come to its end: as any Python, but MPI is its parent's to finalise."""
    if failure is not None:
        traceback.print_exception(type(failure), failure, _own_frames(failure.__traceback__))
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _exit_status(end: SystemExit) -> int:
    """Return the exit status that Python gives for ``sys.exit(code)``, printing a text code as it does."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print(end.code, file=sys.stderr)
    return 1


def _report_failure(
    line: links.Link, status: int, error: BaseException | None = None, *, said: str | None = None
) -> None:
    """Tell the supervisor, then stay until it ends the whole application: MPI could not be left alone."""
    text, summary = None, said
    if error is not None:
        text = "".join(traceback.format_exception(type(error), error, _own_frames(error.__traceback__)))
        summary = traceback.format_exception_only(error)[-1].split("\n")[0]
    try:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        line.send("failure", status=status, traceback=text, summary=summary)
        while True:
            line.receive()
    except LinkError:
        os._exit(status)


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    """Drop the frames of this module and of ``runpy``, which are not the user's."""
    while trace is not None and trace.tb_frame.f_code.co_filename in (__file__, runpy.__file__, "<frozen runpy>"):
        trace = trace.tb_next
    return trace


def _print_into_own_pipes(folder: Path, number: int) -> None:
    """Print into this rank's own pipes to the node launcher, so that its lines are not mixed with other ranks'."""
    is_successor = {"FLEXMPI_JOINING", "FLEXMPI_CHANGE"} <= inheritance.told.keys()
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        # The pipe to hydra stays open, for hydra takes its end for the end of this process.
        inheritance.keep_from_children(os.dup(descriptor))
        pipe = os.open(folder / f"{name}.{number}", os.O_WRONLY | os.O_NONBLOCK)
        os.set_blocking(pipe, True)
        os.dup2(pipe, descriptor)
        if is_successor:
            # Here it marks where it begins to compute, wherever the program may have its output go by then.
            inheritance.keep_from_children(pipe)
            inheritance.pipes.append(pipe)
        else:
            os.close(pipe)
