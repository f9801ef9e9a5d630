"""The command `tidegate`: what commands there are, and how errors leave the process.

Commands live in modules that are imported when one of theirs is asked for; `tidegate --help` imports click alone. Exit codes:
0 done, 2 wrong input or usage, 3 not found, 4 conflict, 5 a gate did not pass, 6 integrity, 7 unavailable, 8 not allowed (see
`tidegate.domain.errors`), 70 a defect of ours (its traceback is logged), 130 interrupted.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from pathlib import Path

import click

from tidegate import __version__
from tidegate.cli.extras import missing_extra
from tidegate.cli.session import Session, log_defect
from tidegate.domain.errors import TidegateError, Unavailable
from tidegate.domain.project import did_you_mean

DEFECT, INTERRUPTED = 70, 130
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE})
DISK = FULL | {errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}

# name: (module below tidegate.cli, one line of help)
COMMANDS = {
    "init": ("projects", "Make a project with a small working model."),
    "ingest": ("data", "Sort the rows of datasets into classes and a quarantine with reasons."),
    "features": ("data", "Define, build, materialize and inspect features."),
    "train": ("models", "Run the training pipeline and register a model version."),
    "retrain": ("models", "Answer a request for retraining from a cluster's queue."),
    "registry": ("models", "Model versions, their metrics and aliases."),
    "compare": ("comparison", "Two versions side by side: losses, metrics, features."),
    "promote": ("models", "Let a candidate through the offline gates."),
    "release": ("models", "Build, list, verify and export releases."),
    "rollout": ("rollouts", "Make a release live behind its gates."),
    "status": ("rollouts", "What is live, since when, on what evidence, and what is drifting."),
    "doctor": ("rollouts", "What is missing or wrong in a cluster, and how to mend it."),
    "rollback": ("rollouts", "Go back to the release that was live before."),
    "freeze": ("rollouts", "Let no rollout start or switch until unfrozen."),
    "unfreeze": ("rollouts", "Lift a freeze."),
    "drift": ("evidence", "Compare what a release sees with what it was trained on."),
    "monitor": ("evidence", "Watch the live releases of a cluster for drift."),
    "gate": ("evidence", "Verdicts of gates, with their evidence."),
    "replay": ("evidence", "Recompute a served prediction to the bit, down to the rows of its data."),
    "history": ("history", "Who did what with a model, when and why."),
    "ledger": ("evidence", "The tamper-evident record of what was done and why."),
    "predict": ("predictions", "Score a file of rows by the code that serves."),
    "serve": ("processes", "Serve one release in the foreground."),
    "up": ("processes", "Start the platform and keep it running."),
    "down": ("processes", "Stop every process; data stay."),
    "image": ("images", "Container images of releases and of the platform, for a cluster."),
    "chart": ("charts", "The charts of this project for a cluster, and their values."),
    "schedule": ("schedules", "Commands that run at stated times."),
    "prune": ("processes", "Remove what the policy says is old; what the ledger names stays."),
}


class LazyCommands(click.Group):
    """Subcommands imported when they are asked for; help lists them without."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"tidegate.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"no command '{args[0]}'; {did_you_mean(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    cls=LazyCommands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Each command has its own --help with examples. Start with: tidegate ingest",
)
@click.option(
    "-C",
    "--project",
    type=click.Path(path_type=Path),
    help="Project file or folder; by default tidegate.yaml here or in a folder above.",
)
@click.version_option(__version__, prog_name="tidegate", message="%(prog)s %(version)s")
@click.pass_context
def root(ctx: click.Context, project: Path | None) -> None:
    """Takes a model from raw data to a guarded production release, and its predictions to accountable decisions."""
    ctx.obj = Session(project)


def run(arguments: list[str] | None = None, command: click.Command = root, name: str = "tidegate") -> int:
    """Run one command; returns its exit code, errors said in one line on standard error."""
    session: list[Session] = []
    try:
        given = list(sys.argv[1:] if arguments is None else arguments)
        _invoke(command.make_context(name, given, obj=Session(None)), session)
        return 0
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.exceptions.NoArgsIsHelpError as bare:
        return _bare(bare)
    except click.ClickException as error:
        hint = f"; see '{error.ctx.command_path} --help'" if isinstance(error, click.UsageError) and error.ctx else ""
        return _say(f"{_one_line(error.format_message())}{hint}", error.exit_code)
    except TidegateError as error:
        return _say(_one_line(str(error)), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        sys.stdout = None  # type: ignore[assignment] # nobody reads any more, so nothing is to be flushed
        return 0
    except ModuleNotFoundError as error:
        if needed := missing_extra(error):
            return _say(needed, Unavailable.exit_code)
        return _defect(error, session)
    except OSError as error:
        if error.errno in DISK:
            return _say(_one_line(_refused(error)), Unavailable.exit_code)
        return _defect(error, session)
    except Exception as error:
        return _defect(error, session)


def _bare(bare: click.exceptions.NoArgsIsHelpError) -> int:
    """`tidegate` alone is a question; a group of commands alone is a command that lacks its end."""
    group = bare.ctx.command if bare.ctx else None
    if bare.ctx is None or bare.ctx.parent is None or not isinstance(group, click.Group):
        click.echo(bare.format_message())
        return 0
    path, names = bare.ctx.command_path, ", ".join(group.list_commands(bare.ctx))
    takes = "a model, or a command" if "start" in group.commands else "a command"
    return _say(f"'{path}' takes {takes}: {names}; see '{path} --help'", click.UsageError.exit_code)


def _defect(error: Exception, session: list[Session]) -> int:
    log = log_defect(session[0] if session else None)
    return _say(f"unexpected {type(error).__name__}: {_one_line(str(error))}; this is a defect, traceback in {log}", DEFECT)


def _refused(error: OSError) -> str:
    """What the system did not let us do, for people."""
    what = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    advice = "free some space" if error.errno in FULL else "allow it, or name another state folder (TIDEGATE_STATE)"
    return f"{what or 'a file'}: {error.strerror}; {advice}, and try again"


def _invoke(ctx: click.Context, session: list[Session]) -> None:
    """Invoke, and let the caller know the session even when the command fails."""
    with ctx:
        try:
            ctx.command.invoke(ctx)
        finally:
            if isinstance(ctx.obj, Session):
                session.append(ctx.obj)


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


def _say(message: str, code: int) -> int:
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True, color=None)
    return code


def main(command: click.Command = root, name: str = "tidegate") -> None:
    # OpenBLAS' threads spin while they wait, and what is multiplied here is small; what a command starts inherits this
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ["PYTHONSAFEPATH"] = "1"  # nor does it take a module from the folder in which a command happens to be called
    sys.exit(run(None, command, name))


if __name__ == "__main__":
    main()
