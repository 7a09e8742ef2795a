from hypothesis import given
from hypothesis import strategies as st

from libs.budget import Budget
from services.embedding.waiting import Waiting
from services.embedding.work import Call, Rank, Work

ROOM = 64
LONG = "x" * 60  # 17 tokens by the rule of thumb
FAR_S = 100.0


def work(s_per_token: float = 0.0, *, max_tokens: int = 32) -> Work[str, bytes]:
    made: Work[str, bytes] = Work(lambda _: [], max_tokens=max_tokens, marks=2)
    if s_per_token:
        made.learn([LONG], 0.0, s_per_token * made.tokens(LONG))
    return made


WORK = work()


def call(
    *texts: str,
    end_s: float | None = None,
    rank: Rank = Rank.TEXTS,
    work: Work[str, bytes] = WORK,
) -> Call[str, bytes]:
    budget = None if end_s is None else Budget(end_s, end_s, clock=lambda: 0.0)
    return Call(work, texts, rank, budget, arrived_s=0.0)


def queue(*calls: Call[str, bytes]) -> Waiting:
    waiting = Waiting(run_tokens=ROOM)
    for each in calls:
        waiting.add(each)
    return waiting


def next_items(waiting: Waiting, now_s: float = 0.0) -> list[str]:
    run = waiting.next_run(now_s)
    assert run is not None
    return run.items


async def test_nobody_waiting_means_no_run() -> None:
    assert queue().next_run(0.0) is None


async def test_the_earliest_deadline_is_served_first_and_no_deadline_last() -> None:
    waiting = queue(call("never"), call("later", end_s=2.0), call("soon", end_s=1.0))
    assert next_items(waiting) == ["soon", "later", "never"]


async def test_among_equals_the_first_to_come_is_served_first() -> None:
    assert next_items(queue(call("a"), call("b"), call("c"))) == ["a", "b", "c"]


async def test_a_run_closes_before_it_would_end_after_its_first_deadline() -> None:
    for s_per_token, count in ((0.001, 3), (0.020, 2), (0.100, 1)):
        pace = work(s_per_token)
        soon = call("soon", end_s=0.5, work=pace)
        waiting = queue(soon, call(LONG + "1", work=pace), call(LONG + "2", work=pace))
        assert next_items(waiting) == ["soon", LONG + "1", LONG + "2"][:count]


async def test_a_pace_of_long_ago_closes_no_run() -> None:
    pace = work(0.1)
    waiting = queue(call("soon", end_s=FAR_S + 0.5, work=pace), call(LONG, work=pace))
    assert next_items(waiting, FAR_S) == ["soon", LONG]


async def test_a_text_that_fills_a_run_by_itself_still_runs() -> None:
    waiting = Waiting(run_tokens=4)
    waiting.add(call("y" * 20_000, LONG))
    assert next_items(waiting) == ["y" * 20_000]


async def test_bulk_does_not_lengthen_an_interactive_run() -> None:
    waiting = queue(call("bulk", rank=Rank.BULK, end_s=0.1), call("question"))
    assert next_items(waiting) == ["question"]


async def test_a_script_of_many_bytes_counts_more_tokens_than_its_characters_suggest() -> None:
    reader = work(max_tokens=256)
    assert reader.tokens("漢" * 40) > 2 * reader.tokens("a" * 40)


async def test_both_texts_of_a_pair_count() -> None:
    scoring: Work[tuple[str, str], float] = Work(lambda _: [], max_tokens=32, marks=3)
    assert scoring.tokens(("a" * 40, "b" * 20)) == 18
    assert scoring.tokens(("a" * 400, "b")) == 32


async def test_pairs_go_behind_questions_and_before_bulk() -> None:
    other = work()
    waiting = queue(
        call("bulk", rank=Rank.BULK, end_s=0.1),
        call("pair", rank=Rank.PAIRS, work=other, end_s=0.2),
        question := call("question"),
    )
    assert next_items(waiting) == ["question"]
    waiting.remove(question)
    run = waiting.next_run(0.0)
    assert run is not None
    assert (run.work, run.items) == (other, ["pair"])


async def test_a_run_is_of_one_kind_of_work() -> None:
    one, other = work(), work()
    waiting = queue(
        call("a", rank=Rank.PAIRS, work=one),
        call("b", rank=Rank.PAIRS, work=other),
        call("c", rank=Rank.PAIRS, work=one),
    )
    assert next_items(waiting) == ["a", "c"]


texts = st.lists(st.text("ab ", min_size=1, max_size=150), min_size=1, max_size=6)


@given(asked=st.lists(st.tuples(texts, st.booleans()), min_size=1, max_size=6))
async def test_every_text_is_run_once_in_runs_that_keep_to_their_room(
    asked: list[tuple[list[str], bool]],
) -> None:
    calls = [call(*each, rank=Rank.BULK if bulk else Rank.TEXTS) for each, bulk in asked]
    waiting = queue(*calls)
    seen: list[str] = []
    while run := waiting.next_run(0.0):
        assert len(run.items) == 1 or sum(map(WORK.tokens, run.items)) <= ROOM
        seen += run.items
        for each in waiting.all():
            each.take(dict.fromkeys(run.items, b""))
            if not each.missing:
                waiting.remove(each)
    assert sorted(seen) == sorted({text for each, _ in asked for text in each})
    assert all(each.found.keys() == set(each.items) for each in calls)
