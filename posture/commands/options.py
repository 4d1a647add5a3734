"""Flags that several commands share, spelled as kubectl spells them, and what they open."""

from __future__ import annotations

import functools
import getpass
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from posture import config, reading, sources
from posture.errors import UsageError
from posture.inputs import Inputs
from posture.model import SEVERITIES, Snapshot, Version
from posture.store import MEMORY, Store, default_path, open_store
from posture.text import format_time, visible

type Command = Callable[..., Any]

OUTPUTS = ("table", "wide", "json", "yaml", "name")
severity = click.Choice(SEVERITIES)
STORED = "posture.stored"
"""The key in click's context of the database and the inputs of what was asked, where it was a stored snapshot."""


class Text(click.types.StringParamType):
    """A text that is kept: a shell passes any bytes, and the database holds characters."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what is no UTF-8."""
        given = super().convert(value, param, ctx)
        try:
            given.encode()
        except UnicodeEncodeError:
            self.fail("this is no UTF-8", param, ctx)
        return given


text = Text()


class Group(click.Group):
    """A group that lists its commands with their whole first sentence."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in `--help`; click would cut it to one line each."""
        rows = [(name, self.commands[name].get_short_help_str(200)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class Named(click.Path):
    """A path that somebody wrote: an empty one (a variable that is not set) would be the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse the empty path."""
        if not str(value):
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


path = Named(path_type=Path)


def _all(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for one in reversed(decorators):
            command = one(command)
        return command

    return decorate


database = click.option("--db", metavar="PATH", help="The database; :memory: keeps nothing. [env: POSTURE_DB]")
configuration = click.option("--config", "config_path", type=path, metavar="PATH", help="The configuration file.")
output = click.option("-o", "--output", type=click.Choice(OUTPUTS), default="table", show_default=True)
named_cluster = click.option("--cluster", default="", type=text, metavar="NAME", help="The cluster's name or id.")
cluster_flags = _all(
    click.option("--kubeconfig", metavar="PATH", help="The kubeconfig file. [env: KUBECONFIG]"),
    click.option("--request-timeout", type=float, default=60.0, show_default=True, help="Seconds for one request."),
)
judged = _all(
    click.option("--checks", multiple=True, type=path, metavar="PATH", help="A folder of more checks."),
    click.option("--baseline", multiple=True, type=path, metavar="PATH",
                 help="A folder or file that is agreed to: manifests, or {for, objects} files."),
    click.option("--owners", "owners_path", type=path, metavar="PATH", help="The owners file."),
    configuration,
)  # fmt: skip
kubernetes_version = click.option(
    "--kubernetes-version", default="", metavar="1.X", help="The server's version, for a folder."
)


def by_and_reason(*, required: bool) -> Callable[[Command], Command]:
    """`--by` and `--reason`, for what is written into the journal."""
    return _all(
        click.option("--by", default=_user, type=text, help="Who decides. [default: you; env: POSTURE_USER]"),
        click.option("--reason", default="", type=text, help=f"Why{' (required)' if required else ''}."),
    )


def _user() -> str:
    try:
        return os.environ.get("POSTURE_USER") or getpass.getuser()
    except (KeyError, OSError):  # a container's user need have no name
        return ""


def inputs_of(config_path: Path | None, **given: Any) -> Inputs:
    """What a run is judged with: the configuration, and what the flags say over it."""
    settings = config.load(config_path)
    return Inputs(
        replace(
            settings,
            checks=settings.checks + tuple(given.get("checks") or ()),
            baseline=tuple(given.get("baseline") or ()) or settings.baseline,
            owners=given.get("owners_path") or settings.owners,
        )
    )


def database_of(db: str | None, config_path: Path | None = None) -> str:
    """The database's path: the flag, the environment, the configuration, the default."""
    if db:
        return db
    if "POSTURE_DB" in os.environ:
        return default_path()
    return config.load(config_path).db or default_path()


@contextmanager
def store_of(db: str | None, config_path: Path | None = None, *, create: bool = False) -> Iterator[Store]:
    """The open database."""
    with open_store(database_of(db, config_path), create=create) as store:
        yield store


@contextmanager
def store_if_any(db: str | None, config_path: Path | None = None) -> Iterator[Store | None]:
    """The open database, or None where there is none."""
    path = database_of(db, config_path)
    if path == MEMORY or not Path(path).exists():
        yield None
        return
    with open_store(path, create=False) as store:
        yield store


audit_logs = click.option(
    "--audit-log", "audit_logs", multiple=True, metavar="FILE",
    help="The API server's audit log: who made a change. A file, perhaps compressed, or -; may be repeated.",
)  # fmt: skip


def version_of(text: str) -> Version | None:
    """`--kubernetes-version`. Raises UsageError."""
    if not text:
        return None
    try:
        return Version.parse(text)
    except ValueError as error:
        raise UsageError(f"{visible(text, 40)} is no Kubernetes version", "write 1.36") from error


def asked_of(command: Command) -> Command:
    """The flags that say where a question is answered: --from, --context, --snapshot, --at.

    Passes `ask`, which reads the snapshot: the command looks at its own arguments first. What it names is read beside
    the kinds that are judged. What is assumed is about roles, and said unless `roles` is false.
    """

    @_all(
        click.option("--from", "paths", multiple=True, metavar="PATH", help="Ask manifests: a folder, a file or -."),
        click.option("--context", help="Ask the live cluster of this context (the default: the current one)."),
        click.option("--snapshot", "number", default="", metavar="ID", help="Ask a stored snapshot; latest is one."),
        click.option("--at", default="", metavar="TIME", help="Ask what was stored at a time: 2026-10-20, -7d."),
        named_cluster, cluster_flags, kubernetes_version, database, configuration,
    )  # fmt: skip
    @functools.wraps(command)
    def wrapped(
        paths: tuple[str, ...], context: str | None, number: str, at: str, cluster: str, kubeconfig: str | None,
        request_timeout: float, kubernetes_version: str, db: str | None, config_path: Path | None, **rest: Any,
    ) -> Any:  # fmt: skip
        flags = (("--from", paths), ("--context", context), ("--snapshot", number), ("--at", at))
        given = [flag for flag, value in flags if value]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} name different sources", "give one of them")
        version = version_of(kubernetes_version)

        def ask(*also: str, roles: bool = True) -> Snapshot:
            title, snapshot = _asked(
                paths, number, at, cluster, version, db, config_path,
                sources.Cluster(context, kubeconfig, (), request_timeout), also,
            )  # fmt: skip
            click.echo(f"answered from {visible(title, 300)}", err=True)
            for text in snapshot.assumed if roles else ():
                click.echo(f"assumed: {visible(text, 300)}", err=True)
            return snapshot

        return command(ask=ask, **rest)

    return wrapped


def _asked(
    paths: tuple[str, ...], number: str, at: str, cluster: str, version: Version | None, db: str | None,
    config_path: Path | None, reached: sources.Cluster, also: tuple[str, ...],
) -> tuple[str, Snapshot]:  # fmt: skip
    inputs = inputs_of(config_path)
    settings = inputs.settings | {"now": format_time(sources.now_utc())}
    if paths:
        source = reading.folder(paths, inputs.config)
        snapshot = reading.snapshot_of(source, inputs.shipped, offline=True, version=version)
    elif number or at:
        # The snapshot reads its objects on demand, so the database stays open while the command runs.
        store = click.get_current_context().with_resource(store_of(db, config_path))
        time = sources.moment(at, sources.now_utc()) if at else ""
        snapshot, revision = sources.stored(store, cluster, number=number, at=time)
        click.get_current_context().meta[STORED] = store, inputs
        settings |= {"now": revision.time}
        return f"snapshot {revision.id} of {revision.time}", replace(snapshot, settings=settings)
    else:
        source = sources.live(reached, judged_only=True, also=also)
        snapshot = reading.snapshot_of(source, inputs.shipped, offline=False)
    for problem in source.facts.problems:
        click.echo(f"{visible(problem.place, 300)}: {visible(problem.message, 500)}", err=True)
    return source.title, replace(snapshot, settings=settings)
