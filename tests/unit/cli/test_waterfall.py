from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from cli.waterfall import account_waterfall, trace_waterfall
from libs.values import Account, HopAccount, Piece, PieceKind
from libs.values.traces import Span

ACCOUNT = Account(
    total_s=1.0,
    first_text_s=0.5,
    pieces=(
        Piece("embedding", PieceKind.QUEUE, 0.0, 0.1),
        Piece("embedding", PieceKind.COMPUTE, 0.1, 0.1),
        Piece("generation", PieceKind.MODEL, 0.2, 0.79),
        Piece("generation", PieceKind.NETWORK, 0.99, 0.005),
        Piece("", PieceKind.UNATTRIBUTED, 0.995, 0.005),
    ),
    hops=(
        HopAccount("embedding", 0.0, 0.5, 0.2, queue_s=0.1, compute_s=0.1, outcome="ok"),
        HopAccount("retrieval", 0.0, skipped="NO_TIME"),
        HopAccount("generation", 0.2, 9.0, 0.795, model_s=0.79, network_s=0.005, outcome="ok"),
    ),
)


def drawn(what: RenderableType, width: int = 80, *, colours: bool = False) -> str:
    console = Console(
        width=width, color_system="truecolor" if colours else None, force_terminal=colours
    )
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def row(text: str, name: str) -> str:
    [found] = [line for line in text.splitlines() if line.lstrip("│├└─ ").startswith(name)]
    return found


def cells(text: str, name: str) -> int:
    """Where the bars of a chart begin."""
    return row(text, name).index("0")


def span(number: int, parent: int, start_ms: int, length_ms: int, **fields: str) -> Span:
    return Span(
        trace_id="ab" * 16,
        span_id=f"{number:016x}",
        parent_span_id=f"{parent:016x}" if parent else "",
        name=fields.pop("name", f"span-{number}"),
        service="test",
        start_ns=1_800_000_000_000_000_000 + start_ms * 1_000_000,
        duration_ns=length_ms * 1_000_000,
        **fields,
    )


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("colours", [False, True])
def test_no_line_is_longer_than_the_terminal(width: int, colours: bool) -> None:  # noqa: FBT001 - a parameter
    for what in (account_waterfall(ACCOUNT, budget_s=0.7), trace_waterfall([span(1, 0, 0, 1)])):
        lines = drawn(what, width).splitlines()
        assert max(map(len, lines)) <= width
        assert ("\x1b[" in drawn(what, width, colours=colours)) == colours


def test_a_bar_shows_the_parts_of_what_was_used_and_the_grant_behind_it() -> None:
    text = drawn(account_waterfall(ACCOUNT))
    start = cells(text, "hop")
    bar = row(text, "embedding")[start:].split()[0]
    assert bar.strip("░▓─") == ""
    assert list(dict.fromkeys(bar)) == ["░", "▓", "─"]
    used = bar.count("░") + bar.count("▓")
    assert used / len(bar) == pytest.approx(0.2 / 0.5, abs=0.1)


def test_a_hop_starts_where_its_time_did() -> None:
    text = drawn(account_waterfall(ACCOUNT))
    head = row(text, "hop")
    start, end = head.index("0"), head.index("ms") + 2
    bar = row(text, "generation")[start:end]
    assert (len(bar) - len(bar.lstrip())) / (end - start) == pytest.approx(0.2, abs=0.05)


def test_granted_and_used_stand_beside_each_bar() -> None:
    assert row(drawn(account_waterfall(ACCOUNT)), "embedding").split()[-3:] == [
        "200.0",
        "500.0",
        "ok",
    ]


def test_a_skipped_hop_says_why() -> None:
    assert "skipped: NO_TIME" in row(drawn(account_waterfall(ACCOUNT)), "retrieval")


def test_a_wide_terminal_shows_every_part_in_numbers() -> None:
    text = drawn(account_waterfall(ACCOUNT), 120)
    head = row(text, "hop").split()
    assert head[-5:] == ["queue", "compute", "model", "network", "outcome"]
    assert row(text, "generation").split()[-3:] == ["790.0", "5.0", "ok"]


def test_the_critical_path_is_told_as_a_sum() -> None:
    text = " ".join(drawn(account_waterfall(ACCOUNT)).split())
    assert (
        "1,000.0 ms = generation model 790.0 + embedding queue 100.0 + embedding compute 100.0"
        " + shorter ones 5.0 + unattributed 5.0"
    ) in text


def test_the_first_text_is_marked_beside_the_time_it_was_due() -> None:
    text = drawn(account_waterfall(ACCOUNT, budget_s=0.7))
    assert "▲" in row(text, "first text")
    assert row(text, "first text").split()[-2:] == ["500.0", "700.0"]
    assert "first text" not in drawn(account_waterfall(Account(1.0, None, (), ())))


def test_an_empty_account_is_drawn() -> None:
    assert "0.0 ms" in drawn(account_waterfall(Account(0.0, None, (), ())))


durations = st.floats(0, 100, allow_nan=False)


@settings(deadline=None)  # a busy machine proves nothing
@given(
    total_s=durations,
    first_text_s=st.none() | durations,
    hops=st.lists(
        st.builds(HopAccount, st.text(), *[durations] * 7, st.text(), st.text()), max_size=4
    ),
    width=st.integers(40, 200),
)
def test_any_account_can_be_drawn(
    total_s: float, first_text_s: float | None, hops: list[HopAccount], width: int
) -> None:
    pieces = (Piece("", PieceKind.UNATTRIBUTED, 0.0, total_s),)
    text = drawn(account_waterfall(Account(total_s, first_text_s, pieces, tuple(hops))), width)
    assert all(each.isprintable() for each in text.replace("\n", ""))


def test_spans_stand_below_their_parents_in_the_order_of_their_start() -> None:
    spans = [span(4, 2, 30, 10), span(3, 1, 50, 10), span(2, 1, 10, 40), span(1, 0, 0, 100)]
    text = drawn(trace_waterfall(spans))
    assert [line.split()[0:3] for line in text.splitlines()[2:6]] == [
        ["span-1", *row(text, "span-1").split()[1:3]],
        ["├─", "span-2", row(text, "span-2").split()[2]],
        ["│", "└─", "span-4"],
        ["└─", "span-3", row(text, "span-3").split()[2]],
    ]


def test_the_package_of_an_rpc_is_left_out() -> None:
    name = "hasten.cache.v1.CacheService/LookupAnswer"
    assert row(drawn(trace_waterfall([span(1, 0, 0, 1, name=name)])), "Cache.LookupAnswer")


def test_a_failed_span_is_told_apart_without_colours() -> None:
    text = drawn(trace_waterfall([span(1, 0, 0, 10), span(2, 1, 0, 5, status="ERROR")]))
    assert "▓" in row(text, "span-2")
    assert "▓" not in row(text, "span-1")
    assert "1 failed" in text


def looped() -> list[Span]:
    return [span(1, 2, 0, 10), span(2, 1, 5, 10)]


def orphaned() -> list[Span]:
    return [span(2, 9, 5, 10), span(3, 8, 0, 10)]


@pytest.mark.parametrize("spans", [looped, orphaned])
def test_spans_without_a_known_root_are_all_shown(spans: Callable[[], list[Span]]) -> None:
    text = drawn(trace_waterfall(spans()))
    assert text.count("span-") == 2


def test_a_chain_deeper_than_the_stack_is_drawn() -> None:
    spans = [span(number, number - 1, number, 5000 - number) for number in range(1, 3001)]
    assert len(drawn(trace_waterfall(spans)).splitlines()) > 3000


def test_names_cannot_steer_the_terminal_or_its_colours() -> None:
    text = drawn(trace_waterfall([span(1, 0, 0, 1, name="\x1b[2J[red]ask[/red]\r")]))
    assert "\x1b" not in text
    assert "[red]ask[/red]" in text


def test_no_spans_are_no_error() -> None:
    assert drawn(trace_waterfall([])) == "no spans\n"
