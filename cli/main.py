"""The command `hasten`, for operators and developers."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from cli.cache import app as cache_app
from cli.home import Home, NoMeshError
from cli.jobs import app as jobs_app
from cli.keys import app as keys_app
from cli.options import Collection, Json, SlipError, Tenant, seconds_of
from cli.pairing import NotStoredError, PairsError
from cli.squad import SquadError
from cli.valkey import NoRedisError
from libs.errors import MeshError
from libs.values import CacheControl, Filter, Question, Render

app = typer.Typer(
    help="Answers questions with an LLM inside a latency budget.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
config_app = typer.Typer(help="Look at the settings.", no_args_is_help=True)
eval_app = typer.Typer(help="Measure how good it is.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(eval_app, name="eval")
app.add_typer(cache_app, name="cache")
app.add_typer(jobs_app, name="jobs")
app.add_typer(keys_app, name="keys")

Result = TypeVar("Result")


def main() -> None:
    """Run the command; what a user can mend ends it with one line and status 1."""
    try:
        app()
    except MeshError as error:
        _give_up(f"{error.reason}: {error}")
    except (NoMeshError, NoRedisError, NotStoredError, PairsError, SlipError, SquadError) as error:
        _give_up(str(error))
    except OSError as error:
        _give_up(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _give_up(line: str) -> NoReturn:
    print(f"hasten: {line}", file=sys.stderr)  # noqa: T201 - what a command line is for
    sys.exit(1)


def _console() -> Console:
    return Console(highlight=False)


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(work)


def _seconds(text: str | None, option: str) -> float | None:
    """Return a duration in seconds; None if it is not said."""
    return None if text is None else seconds_of(text, option)


def _filters(given: list[str]) -> tuple[Filter, ...]:
    """Return `key=value` conditions; values of the same key are alternatives."""
    by_key: dict[str, list[str]] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals:
            raise SlipError(f"--filter: {each!r} is not of the form key=value")
        by_key.setdefault(key, []).append(value)
    return tuple(Filter(key, tuple(values)) for key, values in by_key.items())


def _member(kind: Any, text: str, option: str) -> Any:
    names = {str(each.name).lower().replace("_", "-"): each for each in kind}
    if text not in names:
        raise SlipError(f"{option}: {text!r} is not one of {', '.join(names)}")
    return names[text]


@app.command()
def up(
    edge_port: Annotated[int, typer.Option(help="Port of HTTP; 0 takes a free one.")] = 0,
) -> None:
    """Start Valkey, the services and the trace store, and keep them running until Ctrl-C."""
    from cli.layout import plan_layout  # noqa: PLC0415 - a slow import, needed here alone
    from cli.supervisor import StartError, running  # noqa: PLC0415

    console = _console()

    async def serve() -> None:
        stopping = asyncio.Event()
        for sig in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(sig, stopping.set)
        home = Home()
        layout = plan_layout(home, edge_port=edge_port)
        console.print(f"starting {len(layout.processes)} processes, logs in {home.root}/logs")
        waiting = asyncio.create_task(stopping.wait())
        async with running(layout, home, console.print):
            table = Table(box=None)
            table.add_column("service")
            table.add_column("where")
            for name, address in layout.place.addresses.items():
                table.add_row(name, address)
            console.print(table)
            console.print('ready: try `hasten ingest docs` and `hasten ask "..."`; Ctrl-C ends it')
            await waiting
            console.print("draining")

    try:
        _run(serve())
    except StartError as error:
        _give_up(str(error))


@app.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders and patterns to read.")],
    collection: Collection = "default",
    tenant: Tenant = "default",
    *,
    as_json: Json = False,
) -> None:
    """Store Markdown, text, JSONL, HTML and PDF files as documents to answer from."""
    from cli import ingesting  # noqa: PLC0415

    documents = ingesting.read_paths(paths)
    console = Console(stderr=True, highlight=False)
    done = _run(ingesting.ingest(Home().find(), tenant, collection, documents, console))
    ingesting.tell(done, as_json=as_json)
    if done.unreadable and not done.document_count:
        sys.exit(1)


@app.command()
def ask(  # noqa: PLR0913, PLR0917 - each argument is an option of the command
    question: Annotated[str, typer.Argument(help="What to ask.")],
    budget: Annotated[
        str | None, typer.Option(help="Time to the first text: 700ms, 2s; default by policy.")
    ] = None,
    deadline: Annotated[
        str | None, typer.Option(help="Time to the hard end; default by policy.")
    ] = None,
    collection: Collection = "default",
    tenant: Tenant = "default",
    policy: Annotated[str, typer.Option(help="Name of the policy.")] = "interactive",
    filters: Annotated[
        list[str] | None, typer.Option("--filter", help="key=value on metadata; repeatable.")
    ] = None,
    cache: Annotated[
        str, typer.Option(help="default, bypass, no-store, only-if-cached, refresh.")
    ] = "default",
    render: Annotated[str, typer.Option(help="token, block or outline.")] = "token",
    *,
    explain: Annotated[
        bool, typer.Option("--explain/--no-explain", help="Show where the time went.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Ask a question, and see the answer come."""
    from cli import asking  # noqa: PLC0415

    asked = Question(
        tenant_id=tenant,
        question=question,
        collection=collection,
        filters=_filters(filters or []),
        policy=policy,
        first_text_by_s=_seconds(budget, "--budget"),
        cache_control=_member(CacheControl, cache, "--cache"),
        render=_member(Render, render, "--render"),
    )
    console = _console()
    place, deadline_s = Home().find(), _seconds(deadline, "--deadline")
    answer = _run(asking.ask_aloud(place, asked, deadline_s, None if as_json else console))
    if as_json:
        typer.echo(asking.as_json(answer))
    else:
        asking.show_ending(console, answer, explain=explain)


@app.command()
def trace(
    trace_id: Annotated[
        str | None, typer.Argument(help="The trace, or the first digits of its id.")
    ] = None,
    *,
    last: Annotated[bool, typer.Option("--last", help="The newest answer (default).")] = False,
    slowest: Annotated[bool, typer.Option("--slowest", help="The slowest answer.")] = False,
    as_json: Json = False,
) -> None:
    """Show one request hop by hop: what it was granted, what it used."""
    from cli import tracing  # noqa: PLC0415
    from libs.values.traces import TraceOrder  # noqa: PLC0415

    if last and slowest:
        raise SlipError("--last and --slowest exclude each other")
    order = TraceOrder.SLOWEST if slowest else TraceOrder.NEWEST
    spans = _run(tracing.find_trace(Home().find(), trace_id, order))
    if as_json:
        typer.echo(tracing.trace_json(spans))
    else:
        tracing.show_trace(_console(), spans)


@app.command()
def simulate(  # noqa: PLR0913 - each argument is an option of the command
    scenarios: Annotated[
        list[str] | None, typer.Argument(help="Names or YAML files; all that come along.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Worlds that each way is tried in.")] = 20,
    requests: Annotated[
        int | None, typer.Option(min=100, help="In each world; default by scenario.")
    ] = None,
    way: Annotated[
        list[str] | None, typer.Option("--way", help="Only this one; repeatable; default all.")
    ] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder to draw pictures into.")] = None,
    last: Annotated[
        int, typer.Option(min=1, max=1000, help="With --replay: of so many answers.")
    ] = 500,
    what_if: Annotated[
        list[str] | None, typer.Option("--what-if", help="With --replay: hop=-20ms, share=0.1.")
    ] = None,
    budget: Annotated[str, typer.Option(help="With --replay: time to the first text.")] = "700ms",
    *,
    curve: Annotated[bool, typer.Option("--curve", help="Try hasten at other prices.")] = False,
    replay: Annotated[bool, typer.Option("--replay", help="Replay recorded answers.")] = False,
    as_json: Json = False,
) -> None:
    """Try plans on a simulated mesh in virtual time, against what others do."""
    from cli import simulating  # noqa: PLC0415
    from cli.simulate.scenario import ScenarioError  # noqa: PLC0415

    console = Console(stderr=as_json, highlight=False)
    try:
        if replay:
            accounts = _run(simulating.read_accounts(Home().find(), last))
            simulating.show_recorded(console, accounts)
            budget_s = _seconds(budget, "--budget") or 0.0
            cases = simulating.replay_cases(accounts, budget_s, what_if or [], requests or 10_000)
        else:
            order = simulating.Order(
                tuple(scenarios or ()), seeds, requests, tuple(way or ()), is_curve=curve
            )
            cases = simulating.cases_of(order)
        results = simulating.carry_out(cases, seeds, console)
        files = simulating.draw(results, plots, is_curve=curve) if plots else []
    except ScenarioError as error:
        raise SlipError(str(error)) from error
    if as_json:
        typer.echo(simulating.results_json(results, seeds))
    else:
        simulating.show(console, results)
    for file in files:
        console.print(f"drawn: {file}")


@eval_app.command("retrieval")
def eval_retrieval(
    path: Annotated[Path, typer.Argument(help="A file in SQuAD's format.")],
    *,
    as_json: Json = False,
) -> None:
    """Measure recall@k and MRR of each list (by words, fused, reranked), and extractive answers."""
    from cli import evaluating  # noqa: PLC0415

    console = Console(stderr=True, highlight=False)
    figures = _run(evaluating.evaluate(Home().find(), path, console))
    evaluating.tell(figures, as_json=as_json)


@config_app.command("check")
def config_check(*, as_json: Json = False) -> None:
    """Read every setting as the services would, and say what would not fit."""
    from cli import checking  # noqa: PLC0415

    findings = list(checking.check_settings())
    if as_json:
        typer.echo(checking.findings_json(findings))
    for finding in [] if as_json else findings:
        typer.echo(f"{'error' if finding.fatal else 'warning'}: {finding.service}: {finding.text}")
    if any(finding.fatal for finding in findings):
        sys.exit(1)
    if not as_json and not findings:
        typer.echo("every setting fits")


@app.command()
def demo() -> None:
    """Start a mesh, ingest real documents, ask, and show where the time went."""
    from cli.demo import run_demo  # noqa: PLC0415

    _run(run_demo(_console()))


if __name__ == "__main__":
    main()
