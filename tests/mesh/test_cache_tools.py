"""What `hasten cache` does with a running mesh."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from blockbuster import BlockBuster
from rich.console import Console

from cli.cache.alone import StandIn
from cli.cache.archive import Archive
from cli.cache.exporting import export_answers
from cli.cache.importing import Refused, import_answers
from cli.cache.replay import Order, carry_out
from cli.cache.rows import Row
from cli.cache.stats import ask_replicas
from cli.cache.tally import Tally
from cli.cache.warm import Outcome, Warmed, warm_up
from cli.cache.whole import replay_whole
from cli.home import Place
from libs.values import CacheControl, CacheLayer, Question
from libs.values.cache import AskedQuestion, Everything, Lookup
from tests.support.blocking import blocking
from tests.support.corpus import FACTS, TENANT
from tests.support.mesh import MESH_TOKEN, Mesh, Setting, Told, open_mesh
from tests.support.provider import Provider
from tests.support.waiting import until

QUIET = Console(quiet=True)
# Its lookups go alone for as long as they take, so that a busy machine makes no hit a miss.
ASKED = Question(TENANT, "", policy="endless")
ALONE = Order(replace(ASKED, tenant_id="replay"), stand_in=StandIn(2.0, 1_000, 100))


@pytest.fixture
async def mesh(
    redis_url: str, model_dir: Path, tmp_path: Path, no_blocking: BlockBuster
) -> AsyncIterator[Mesh]:
    """A mesh without a model, whose cache waits for word of documents as tests must."""
    patient = {"cache": {"watch_silence_s": 5.0}}
    async with open_mesh(
        Setting(redis_url, model_dir, tmp_path, settings=patient), no_blocking
    ) as opened:
        yield opened


@pytest.fixture
def place(mesh: Mesh) -> Place:
    return place_of(mesh)


def place_of(mesh: Mesh) -> Place:
    addresses = {name: room.address for name, room in mesh.rooms.items()}
    return Place(os.getpid(), MESH_TOKEN, addresses)


def rows(*questions: str, groups: tuple[str, ...] = ()) -> list[Row]:
    fields = [{"group": group} for group in groups] or [{} for _ in questions]
    both = zip(questions, fields, strict=True)
    return [Row(line, question, more) for line, (question, more) in enumerate(both, 1)]


async def warmed(place: Place, *questions: str, asked: Question = ASKED) -> list[Warmed]:
    return await warm_up(place, rows(*questions), asked, 4, QUIET)


async def ask(mesh: Mesh, question: str) -> Told:
    return await mesh.ask(replace(ASKED, question=question))


def nothing() -> None:
    pass


# -- warm ----------------------------------------------------------------------------------


async def test_what_was_asked_beforehand_is_an_exact_hit_for_others(
    mesh: Mesh, place: Place
) -> None:
    questions = [fact.question for fact in FACTS[:4]]
    done = await warmed(place, *questions)
    assert [(each.line, each.outcome) for each in done] == [
        (line, Outcome.STORED) for line in (1, 2, 3, 4)
    ]
    for question in questions:
        assert (await ask(mesh, question)).layer == "EXACT"
    assert {each.outcome for each in await warmed(place, *questions)} == {Outcome.THERE}


async def test_a_refresh_replaces_what_is_there(mesh: Mesh, place: Place) -> None:
    question = FACTS[0].question
    await warmed(place, question)
    before = (await ask(mesh, question)).completed.cache_hit
    again = replace(ASKED, cache_control=CacheControl.REFRESH)
    (done,) = await warmed(place, question, asked=again)
    after = (await ask(mesh, question)).completed.cache_hit
    assert done.outcome is Outcome.STORED
    assert before is not None
    assert after is not None
    assert before.entry_id != after.entry_id


async def test_a_question_whose_answer_is_not_stored_is_told_with_its_reason(place: Place) -> None:
    done = await warmed(place, "Zzyzx qwrt?", FACTS[0].question)
    assert [each.outcome for each in done] == [Outcome.NOT_STORED, Outcome.STORED]
    assert done[0].reason.startswith("refused: NO")


async def test_an_answer_that_was_cut_is_not_stored_and_that_is_told(
    model_mesh: Mesh, provider: Provider
) -> None:
    provider.behaviour = replace(provider.behaviour, stop_reason="max_tokens")
    (done,) = await warmed(place_of(model_mesh), FACTS[0].question)
    assert (done.outcome, done.reason) == (Outcome.NOT_STORED, "partial: max_tokens")


async def test_a_question_that_fails_does_not_end_the_others(place: Place) -> None:
    wrong = Row(1, FACTS[0].question, {"policy": "eternal"})
    right = Row(2, FACTS[1].question, {})
    failed, stored = await warm_up(place, [wrong, right], ASKED, 2, QUIET)
    assert failed.outcome is Outcome.FAILED
    assert failed.reason.startswith("POLICY_NOT_FOUND: ")
    assert stored.outcome is Outcome.STORED


# -- export and import ---------------------------------------------------------------------


@pytest.fixture
async def exported(
    mesh: Mesh, place: Place, tmp_path: Path, no_blocking: BlockBuster
) -> AsyncIterator[Path]:
    """A file with an answer to each fact, which the cache has lost since.

    The first is asked of a collection of its own, so that no other is built from it.
    """
    await mesh.retrieval.create_collection(TENANT, "apart")
    await mesh.retrieval.upsert(TENANT, "apart", [FACTS[0].document])
    asked = [Row(1, FACTS[0].question, {"collection": "apart"})]
    asked += [Row(line, fact.question, {}) for line, fact in enumerate(FACTS[1:], 2)]
    done = await warm_up(place, asked, ASKED, 4, QUIET)
    assert {each.outcome for each in done} == {Outcome.STORED}
    path = tmp_path / "answers.jsonl"
    # The command reads and writes files in its loop: nobody else waits for it.
    with blocking(no_blocking):
        assert await export_answers(place, TENANT, path, QUIET) == len(FACTS)
    await mesh.cache.invalidate(TENANT, Everything())
    with blocking(no_blocking):
        yield path


def damage(path: Path, line: int) -> None:
    lines = path.read_text().splitlines(keepends=True)
    lines[line - 1] = lines[line - 1][:50] + "\n"
    path.write_text("".join(lines))


def entry_of(path: Path, line: int) -> dict[str, str]:
    found: dict[str, str] = json.loads(path.read_text().splitlines()[line - 1])
    return found


async def test_answers_come_back_with_events_intact(
    mesh: Mesh, place: Place, exported: Path
) -> None:
    done = await import_answers(place, Archive(exported), QUIET)
    assert (done.stored_count, done.refused, done.broken) == (len(FACTS), [], [])
    for fact in FACTS[1:]:
        told = await ask(mesh, fact.question)
        assert told.layer == "EXACT"
        assert fact.answer in told.text
        assert told.whole.citations


async def test_an_answer_whose_document_changed_is_refused_and_named(
    mesh: Mesh, place: Place, exported: Path
) -> None:
    changed = replace(FACTS[0].document, text="The lighthouse of Arran was built by Ada Morris.")
    await mesh.retrieval.upsert(TENANT, "apart", [changed])

    async def is_told() -> bool:
        # An answer built on the new version is taken once the cache has heard of it.
        apart = Row(1, FACTS[0].question, {"collection": "apart"})
        (answered,) = await warm_up(place, [apart], ASKED, 1, QUIET)
        return answered.outcome is Outcome.STORED

    await until(is_told, within_s=30.0)
    await mesh.cache.invalidate(TENANT, Everything())
    done = await import_answers(place, Archive(exported), QUIET)
    assert (done.stored_count, done.reasons) == (len(FACTS) - 1, {"DOCUMENT_CHANGED": 1})
    (refused,) = done.refused
    entry = entry_of(exported, refused.line)
    assert refused == Refused(refused.line, entry["entry_id"], "DOCUMENT_CHANGED")
    assert entry["question"] == FACTS[0].question.replace("Who", "who", 1)


async def test_damaged_lines_are_named_and_the_others_come_back(
    place: Place, exported: Path
) -> None:
    damage(exported, 3)
    done = await import_answers(place, Archive(exported), QUIET)
    assert done.stored_count == len(FACTS) - 1
    assert [(each.line, each.problem) for each in done.broken] == [(3, "is not a JSON object")]


# -- replay --------------------------------------------------------------------------------


async def test_a_replay_through_the_mesh_knows_what_its_hits_were_made_for(mesh: Mesh) -> None:
    first, second = FACTS[:2]
    tally, asked = Tally(), rows(first.question, second.question, groups=("1", "2"))
    await replay_whole(mesh.answers, asked, ASKED, 1, tally, nothing)
    await until(lambda: is_exact(mesh, first.question))
    await until(lambda: is_exact(mesh, second.question))
    # One is asked as if it was another question: its hit is wrong.
    again = rows(first.question, first.paraphrase, second.question, groups=("1", "1", "3"))
    await replay_whole(mesh.answers, again, ASKED, 1, tally, nothing)
    assert (len(tally.made), tally.hits) == (2, {"exact": 2, "semantic": 1})
    assert tally.judged == {"exact": 2, "semantic": 1}
    assert [(each.line, each.answered) for each in tally.wrong] == [(3, second.question)]
    assert tally.question_count == 5
    assert not tally.knows_tokens


async def test_a_replay_counts_what_models_read_and_wrote(model_mesh: Mesh) -> None:
    tally = Tally()
    await replay_whole(model_mesh.answers, rows(FACTS[0].question), ASKED, 1, tally, nothing)
    (made,) = tally.made.values()
    assert made.input_tokens
    assert made.output_tokens
    assert made.seconds > 0


async def test_a_replay_counts_refusals_and_failures_apart(place: Place) -> None:
    asked = [*rows("Zzyzx qwrt?"), Row(2, FACTS[0].question, {"collection": "nowhere"})]
    tally = await carry_out(place, asked, Order(ASKED), QUIET)
    assert (tally.refused.total(), dict(tally.failed)) == (1, {"COLLECTION_NOT_FOUND": 1})
    assert (tally.answered_count, tally.hit_rate) == (0, 0.0)


async def is_exact(mesh: Mesh, question: str) -> bool:
    only = replace(ASKED, question=question, cache_control=CacheControl.ONLY_IF_CACHED)
    return (await mesh.ask(only)).layer == "EXACT"


async def test_a_replay_of_the_cache_alone_counts_hits_by_layer_and_finds_wrong_ones(
    place: Place,
) -> None:
    fact, other = FACTS[:2]
    asked = rows(
        fact.question,
        fact.question,
        fact.paraphrase,
        other.question,
        other.paraphrase,
        groups=("1", "1", "1", "2", "3"),
    )
    tally = await carry_out(place, asked, ALONE, QUIET)
    assert (len(tally.made), tally.hits) == (2, {"exact": 1, "semantic": 2})
    assert [(each.line, each.answered) for each in tally.wrong] == [(5, other.question)]
    assert 0 < tally.saved_s() < 6.0
    assert tally.saved_tokens() == (3_000, 300)


async def test_a_raised_floor_makes_hits_by_meaning_misses(place: Place) -> None:
    asked = rows(FACTS[0].question, FACTS[0].paraphrase)
    tally = await carry_out(place, asked, replace(ALONE, min_similarity=1.0), QUIET)
    assert (len(tally.made), tally.hits.total()) == (2, 0)
    assert tally.missed == {"NOT_FOUND": 1, "BELOW_FLOOR": 1}


async def test_stand_ins_serve_nobody_and_are_gone_afterwards(mesh: Mesh, place: Place) -> None:
    questions = [fact.question for fact in FACTS] * 8
    order = replace(ALONE, asked=ASKED)
    replay = asyncio.create_task(carry_out(place, rows(*questions), order, QUIET))
    found = []
    while not replay.done():
        for collection in ("", "default"):
            asked = AskedQuestion(FACTS[0].question, collection=collection)
            outcome = await mesh.cache.find(Lookup(TENANT, CacheLayer.EXACT, asked))
            found.append(outcome.decision.hit)
    assert (await replay).hits == {"exact": 7 * len(FACTS)}
    assert found
    assert not any(found)
    (replica,) = await ask_replicas(place, TENANT)
    assert replica.stats is not None
    assert replica.stats.semantic_entry_count == 0


# -- stats ---------------------------------------------------------------------------------


async def test_stats_tell_what_a_replica_holds_and_how_its_lookups_ended(
    mesh: Mesh, place: Place
) -> None:
    await warmed(place, *(fact.question for fact in FACTS[:3]))
    for _ in range(2):
        await ask(mesh, FACTS[0].question)
    (replica,) = await ask_replicas(place, TENANT)
    members = replica.members()
    assert members["semantic_entry_count"] == 3
    assert members["index_version"] > 0
    assert members["hits"]["exact"] >= 2
    assert members["misses"]["NOT_FOUND"] >= 3
    (stranger,) = await ask_replicas(place, "rival")
    assert stranger.members()["semantic_entry_count"] == 0
    assert not any(stranger.hits.values())


async def test_a_replica_that_is_dead_does_not_hide_the_others(mesh: Mesh, place: Place) -> None:
    target = f"ipv4:{mesh.rooms['cache'].address},127.0.0.1:1"
    both = replace(place, addresses={**place.addresses, "cache": target})
    alive, dead = await ask_replicas(both, TENANT)
    assert alive.stats is not None
    assert dead.stats is None
    assert dead.members()["problem"].startswith("UNREACHABLE: ")
