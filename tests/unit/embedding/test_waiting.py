from hypothesis import given
from hypothesis import strategies as st

from libs.budget import Budget
from services.embedding.waiting import Call, Waiting

ROOM = 64
LONG = "x" * 60  # 17 tokens by the rule of thumb


def call(*texts: str, end_s: float | None = None, bulk: bool = False) -> Call:
    budget = None if end_s is None else Budget(end_s, end_s, clock=lambda: 0.0)
    return Call(texts, bulk, budget, arrived_s=0.0)


def queue(*calls: Call) -> Waiting:
    waiting = Waiting(run_tokens=ROOM, max_tokens=32)
    for each in calls:
        waiting.add(each)
    return waiting


async def test_nobody_waiting_means_no_run() -> None:
    assert queue().next_run(0.0, 0.0) == []


async def test_the_earliest_deadline_is_served_first_and_no_deadline_last() -> None:
    waiting = queue(call("never"), call("later", end_s=2.0), call("soon", end_s=1.0))
    assert waiting.next_run(0.0, 0.0) == ["soon", "later", "never"]


async def test_among_equals_the_first_to_come_is_served_first() -> None:
    assert queue(call("a"), call("b"), call("c")).next_run(0.0, 0.0) == ["a", "b", "c"]


async def test_a_run_closes_before_it_would_end_after_its_first_deadline() -> None:
    waiting = queue(call("soon", end_s=0.5), call(LONG + "1"), call(LONG + "2"))
    assert waiting.next_run(0.0, s_per_token=0.001) == ["soon", LONG + "1", LONG + "2"]
    assert waiting.next_run(0.0, s_per_token=0.020) == ["soon", LONG + "1"]
    assert waiting.next_run(0.0, s_per_token=0.100) == ["soon"]


async def test_a_text_that_fills_a_run_by_itself_still_runs() -> None:
    waiting = Waiting(run_tokens=4, max_tokens=32)
    waiting.add(call("y" * 20_000, LONG))
    assert waiting.next_run(0.0, 0.0) == ["y" * 20_000]


async def test_bulk_does_not_lengthen_an_interactive_run() -> None:
    waiting = queue(call("bulk", bulk=True, end_s=0.1), call("question"))
    assert waiting.next_run(0.0, 0.0) == ["question"]


async def test_a_script_of_many_bytes_counts_more_tokens_than_its_characters_suggest() -> None:
    waiting = Waiting(run_tokens=ROOM, max_tokens=256)
    assert waiting.tokens("漢" * 40) > 2 * waiting.tokens("a" * 40)


texts = st.lists(st.text("ab ", min_size=1, max_size=150), min_size=1, max_size=6)


@given(asked=st.lists(st.tuples(texts, st.booleans()), min_size=1, max_size=6))
async def test_every_text_is_run_once_in_runs_that_keep_to_their_room(
    asked: list[tuple[list[str], bool]],
) -> None:
    calls = [call(*each, bulk=bulk) for each, bulk in asked]
    waiting = queue(*calls)
    seen: list[str] = []
    while run := waiting.next_run(0.0, 0.0):
        assert len(run) == 1 or sum(map(waiting.tokens, run)) <= ROOM
        seen += run
        for each in waiting.all():
            each.take(dict.fromkeys(run, b""))
            if not each.missing:
                waiting.remove(each)
    assert sorted(seen) == sorted({text for each, _ in asked for text in each})
    assert all(each.vectors.keys() == set(each.texts) for each in calls)
