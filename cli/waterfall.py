"""Where the time of a request went, drawn for a terminal of any width, colours or not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.text import Text

from cli.bars import Bar, Look, Stretch, chart, clean, legend, ms
from libs.values import Account, HopAccount, PieceKind
from libs.values.traces import Span

_WIDE = 110
# What is shorter than this share of the whole is summed up in one term.
_LEAST_SHARE = 0.01
_LEAST_S = 1e-6


_QUEUE = Look("queue", "░", "yellow")
_COMPUTE = Look("compute", "▓", "cyan")
_MODEL = Look("model", "█", "green")
_NETWORK = Look("network", "▒", "magenta")
_WAITING = Look("waiting", "∙", "blue")
_OTHER = Look("unattributed", "╌", "red")
_GRANTED = Look("granted", "─", "dim")
_FIRST_TEXT = Look("first text", "▲", "bold")
_OWN = Look("at work", "█", "cyan")
_CALLING = Look("calling another service", "▒", "magenta")
_FAILED = Look("failed", "▓", "red")
_LOOKS = {
    PieceKind.UNATTRIBUTED: _OTHER,
    PieceKind.QUEUE: _QUEUE,
    PieceKind.COMPUTE: _COMPUTE,
    PieceKind.NETWORK: _NETWORK,
    PieceKind.MODEL: _MODEL,
    PieceKind.WAITING: _WAITING,
}


@dataclass(frozen=True, slots=True)
class _AccountChart:
    account: Account
    budget_s: float | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        account, is_wide = self.account, options.max_width >= _WIDE
        axis_s = max([account.total_s, 1e-6, *(hop.start_s + hop.used_s for hop in account.hops)])
        parts = [_QUEUE, _COMPUTE, _MODEL, _NETWORK] if is_wide else []
        table = chart("hop", axis_s, ["used", "granted", *(each.name for each in parts)])
        table.add_column("outcome", no_wrap=True, max_width=18)
        for hop in account.hops:
            table.add_row(*_hop_row(hop, axis_s, is_wide=is_wide))
        table.add_row(*_path_row(account, axis_s))
        if account.first_text_s is not None:
            table.add_row(*_first_text_row(account.first_text_s, self.budget_s, axis_s))
        yield table


def account_waterfall(account: Account, *, budget_s: float | None = None) -> RenderableType:
    """Return what each hop was granted and used, and the critical path with its sum.

    Args:
        account: where the time went.
        budget_s: seconds within which the first text was due, if that is known.
    """
    looks = (_QUEUE, _COMPUTE, _MODEL, _NETWORK, _WAITING, _OTHER, _GRANTED)
    return Group(_AccountChart(account, budget_s), "", legend(looks), "", _path_sums(account))


def _hop_row(hop: HopAccount, axis_s: float, *, is_wide: bool) -> list[RenderableType]:
    name = clean(hop.hop)
    if hop.skipped:
        reason = Text(f"skipped: {clean(hop.skipped)}", "dim")
        return [Text(name, "dim"), reason]
    parts = (
        (hop.queue_s, _QUEUE),
        (hop.compute_s, _COMPUTE),
        (hop.model_s, _MODEL),
        (hop.network_s, _NETWORK),
        (hop.used_s - hop.queue_s - hop.compute_s - hop.model_s - hop.network_s, _OTHER),
    )
    bar = Bar(
        axis_s, list(_laid_out(hop.start_s, parts)), Stretch(hop.start_s, hop.granted_s, _GRANTED)
    )
    overdrawn = hop.used_s > hop.granted_s
    used = Text(ms(hop.used_s), "red" if overdrawn else "")
    row: list[RenderableType] = [Text(name), bar, used, ms(hop.granted_s)]
    if is_wide:
        row += [ms(length_s) if length_s else "" for length_s, _ in parts[:4]]
    return [*row, Text(clean(hop.outcome))]


def _laid_out(start_s: float, parts: Iterable[tuple[float, Look]]) -> Iterator[Stretch]:
    for length_s, look in parts:
        if length_s > _LEAST_S:  # less is the noise of sums
            yield Stretch(start_s, length_s, look)
            start_s += length_s


def _path_row(account: Account, axis_s: float) -> list[RenderableType]:
    pieces = [Stretch(each.start_s, each.length_s, _LOOKS[each.kind]) for each in account.pieces]
    total_s = sum(each.length_s for each in account.pieces)
    return [Text("critical path", "bold"), Bar(axis_s, pieces), Text(ms(total_s), "bold")]


def _first_text_row(
    first_text_s: float, budget_s: float | None, axis_s: float
) -> list[RenderableType]:
    mark = Stretch(min(first_text_s, axis_s * 0.999), axis_s / 1e3, _FIRST_TEXT)
    behind = None if budget_s is None else Stretch(0.0, budget_s, _GRANTED)
    is_late = budget_s is not None and first_text_s > budget_s
    return [
        Text("first text", "bold"),
        Bar(axis_s, [mark], behind),
        Text(ms(first_text_s), "red" if is_late else "bold"),
        "" if budget_s is None else ms(budget_s),
    ]


def _path_sums(account: Account) -> Text:
    """Return the critical path as a sum: what the request waited for, the longest first."""
    sums: dict[tuple[str, PieceKind], float] = defaultdict(float)
    for piece in account.pieces:
        sums[piece.hop, piece.kind] += piece.length_s
    terms: dict[str, float] = defaultdict(float)
    for (hop, kind), length_s in sums.items():
        is_long = length_s >= _LEAST_SHARE * account.total_s
        terms[_term(hop, kind, is_long=is_long)] += length_s
    ordered = sorted(terms.items(), key=lambda term: -term[1])
    text = Text(f"{ms(account.total_s)} ms = ")
    return text.append(Text(" + ").join(Text(f"{name} {ms(each)}") for name, each in ordered))


def _term(hop: str, kind: PieceKind, *, is_long: bool) -> str:
    if kind is PieceKind.UNATTRIBUTED:
        return _OTHER.name
    return f"{clean(hop)} {_LOOKS[kind].name}" if is_long else "shorter ones"


def trace_waterfall(spans: Sequence[Span]) -> RenderableType:
    """Return the spans of one trace as a tree, each on the trace's time axis."""
    if not spans:
        return Text("no spans")
    return Group(_headline(spans), _TraceChart(spans), "", legend((_OWN, _CALLING, _FAILED)))


def _headline(spans: Sequence[Span]) -> Text:
    failed = sum(span.status == "ERROR" for span in spans)
    count = f"{len(spans)} span" + "s" * (len(spans) > 1)
    text = Text(f"trace {clean(spans[0].trace_id)}  {count}")
    return text.append(f"  {failed} failed", "red") if failed else text


@dataclass(frozen=True, slots=True)
class _TraceChart:
    spans: Sequence[Span]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        origin_ns = min(span.start_ns for span in self.spans)
        axis_s = max(1, max(span.end_ns for span in self.spans) - origin_ns) / 1e9
        table = chart("span", axis_s, ["ms"], name_width=options.max_width * 2 // 5)
        if options.max_width >= _WIDE:
            table.add_column("service", no_wrap=True, max_width=16)
        for guide, span in _tree(self.spans):
            is_failed = span.status == "ERROR"
            look = _FAILED if is_failed else _CALLING if span.kind == "CLIENT" else _OWN
            start_s = (span.start_ns - origin_ns) / 1e9
            bar = Bar(axis_s, [Stretch(start_s, max(1, span.duration_ns) / 1e9, look)])
            name = Text(guide, "dim").append(_short(span.name), "red" if is_failed else "")
            service = [Text(clean(span.service))] if options.max_width >= _WIDE else []
            table.add_row(name, bar, ms(span.duration_ns / 1e9), *service)
        yield table


def _tree(spans: Sequence[Span]) -> Iterator[tuple[str, Span]]:
    """Yield each span once, after its parent, with the lines that lead to it."""
    ordered = sorted(spans, key=lambda each: (each.start_ns, -each.duration_ns))
    known = {span.span_id for span in spans}
    children: dict[str, list[Span]] = defaultdict(list)
    for span in ordered:
        children[span.parent_span_id].append(span)
    roots = [span for span in ordered if span.parent_span_id not in known]
    # Spans that name each other as parents have no root; the earliest of them will do.
    for root in [*roots, *ordered]:
        if root.span_id in known:
            yield from _branch(root, children, known)


def _branch(
    root: Span, children: Mapping[str, Sequence[Span]], left: set[str]
) -> Iterator[tuple[str, Span]]:
    """Yield a span and all below it that are `left`, and take them from there."""
    # Depth first without recursion, for a chain may be longer than the stack is deep.
    waiting = [("", "", root)]
    while waiting:
        guide, indent, span = waiting.pop()
        left.remove(span.span_id)
        yield guide, span
        below = [each for each in children.get(span.span_id, ()) if each.span_id in left]
        for place, child in enumerate(reversed(below)):
            fork, line = ("├─ ", "│  ") if place else ("└─ ", "   ")
            waiting.append((indent + fork, indent + line, child))


def _short(name: str) -> str:
    """Return a span's name; of an RPC only `Cache.LookupAnswer`, for there is little room."""
    package, dot, method = name.rpartition(".")
    is_rpc = dot and "/" in method and " " not in package
    return clean(method.replace("Service/", ".") if is_rpc else name)
