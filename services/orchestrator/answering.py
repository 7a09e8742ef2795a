"""The life of one question, from the exact lookup to the last event.

Read top to bottom: a stored answer, passages, a written answer, or an honest refusal. A
lookup that hits at any time before text was shown wins over all of it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from libs.budget import Budget
from libs.errors import (
    DimensionMismatchError,
    FingerprintMismatchError,
    InternalError,
    MeshError,
    OverloadedError,
)
from libs.values import (
    AnswerState,
    CacheControl,
    CacheHit,
    CacheLayer,
    Degradation,
    Event,
    FinishReason,
    ModelTier,
    Quality,
    Question,
    Render,
    Revised,
    Sources,
    StageFinished,
    TextDelta,
)
from libs.values.cache import Answer, Decision, Lookup
from libs.values.embedding import Embeddings
from libs.values.generation import Model, Prompt
from services.orchestrator.course import Course
from services.orchestrator.deferring import DEFERRED, JOB, Deferral
from services.orchestrator.flight import FLIGHT, Following
from services.orchestrator.flights import Flights, Passenger
from services.orchestrator.ground import NO_GROUND, Cited, Ground
from services.orchestrator.hedging import Hedge
from services.orchestrator.hops import CALLERS_FAULT, Clients, Found, Hops, outcome_of
from services.orchestrator.keeping import Keeper
from services.orchestrator.leases import Offer
from services.orchestrator.ledger import CUT, HopRecord
from services.orchestrator.libraries import Libraries
from services.orchestrator.lookups import LeaderFound, Lookups, StoredAnswerFound
from services.orchestrator.outlining import Excerpts, Form, InSections, Said
from services.orchestrator.plan import (
    BRIEF,
    EMBEDDING,
    EXACT,
    EXTRACTIVE,
    FAST,
    GENERATION,
    LEAD,
    NO_TIME,
    PROMPT,
    RETRIEVAL,
    SEMANTIC,
    TIER_OF,
)
from services.orchestrator.planning.tables import Writing as HowToWrite
from services.orchestrator.policy import PROVENANCES, Policy
from services.orchestrator.prompt import asked_of, digest, prompt_of, query_of
from services.orchestrator.replaying import REPLAY, replay, timetable
from services.orchestrator.report import REFUSALS, Refused, Report
from services.orchestrator.rewriting import REWRITING, standing_alone
from services.orchestrator.run import Run, numbered
from services.orchestrator.schema import satisfies
from services.orchestrator.writing import Clocks, Contest, Emit, Writing, Written

_LOG = logging.getLogger(__name__)

# The share of a caller's patience kept for sending, so that what is late by the jitter of
# a busy machine still arrives; never more than so many seconds.
_RESERVE_SHARE = 0.05
_MOST_RESERVE_S = 0.030
# The text is the fast model's, because the best one's was late.
LATE = "LATE"
# What is said of a stored answer whose documents have changed.
_OUTDATED = "miss:DOCUMENT_CHANGED"
# What is said where there is none.
_NOT_STORED = "miss:NOT_FOUND"
# An answer that ended so long ago is in the cache, if it was to be kept; one that is not there
# was removed: it is reported, say, and nobody may be given it any more.
_STORED_WITHIN_S = 0.15
# What is said of one that would do if there were no time for a better one.
_LESSER = ("miss:BELOW_QUALITY", "miss:STALE")
# Refusals of what could not be written in time.
_NOT_IN_TIME = ("NOT_WRITTEN", "BELOW_MINIMUM")

# Why a job answers in place of a run that was turned away, and why there is none.
OVERLOADED, UNAVAILABLE = "OVERLOADED", "UNAVAILABLE"

Refresh = Callable[[Question, Decision], str]
"""Begins to make a stale answer anew; returns the name of the run that does, or nothing."""


class Deferred(Exception):  # noqa: N818 - no error: it is an answer
    """A job answers in place of a run that had told nothing; the argument is its name."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with everything that decides how it is answered."""

    question: Question
    policy: Policy
    model: Model
    budget: Budget
    course: Course
    libraries: Libraries | None = None


class Answering:
    """Answers one question into one run."""

    def __init__(
        self,
        asked: Asked,
        run: Run,
        report: Report,
        clients: Clients,
        keeper: Keeper,
        flights: Flights | None = None,
        refresh: Refresh = lambda *_: "",
    ) -> None:
        self._question = self._searched = asked.question
        self._policy = asked.policy
        self._model = asked.model
        self._budget = asked.budget
        self._run = run
        self._report = report
        self._clients = clients
        self._keeper = keeper
        self._refresh = refresh
        self._ledger = report.ledger
        self._hops = Hops(clients, self._ledger)
        self._key = asked_of(asked.question, asked.policy, asked.model)
        self._course = asked.course
        self._libraries = asked.libraries
        self._cited = Cited(NO_GROUND)
        self._exact_outcome = ""
        self._looked_at_s = 0.0
        self._lookups = Lookups(self._ledger, asked.budget.clock, self._missed)
        most_s = min(_MOST_RESERVE_S, _RESERVE_SHARE * asked.budget.patience_s())
        self._deferral = Deferral(clients.jobs, asked.question, asked.policy, asked.model.tier)
        self._reserve_s = max(asked.policy.costs.deliver, most_s) + self._deferral.reserve_s
        self._outline = self._course.outline(self._left_s())
        self._entered_at_s = asked.budget.clock()
        self._following = Following(
            flights, asked.question, self._key, report, defers=self._deferral.is_open
        )

    async def run(self) -> None:
        """Answer, and finish the run whatever happens.

        Raises:
            asyncio.CancelledError: the caller left, and nobody had stopped the run.
        """
        try:
            await self._answer()
            self._run.finish()
        except MeshError as error:
            self._report.stop()
            self._run.finish(error)
        except asyncio.CancelledError:
            self._report.stop()
            self._run.finish()
            if not self._run.stopped:
                raise
        except Exception:  # noqa: BLE001 - the outer edge: whoever reads must see an end
            incident = secrets.token_hex(8)
            _LOG.exception("incident %s in run %s", incident, self._run.run_id)
            self._run.finish(InternalError(f"internal error, incident {incident}"))
        finally:
            self._report.close()
            self._course.leave()
            await self._hops.close()

    async def _answer(self) -> None:
        try:
            await self._look_up_exact()
            self._make_stand_alone()
            while not await self._answer_or_follow():
                self._plan_anew()
        except StoredAnswerFound as stored:
            await self._replay(stored.found)
        except Deferred as deferred:
            self._report.begin(self._outline, self._budget)
            self._stage(JOB, "ok")
            self._report.defer(OVERLOADED, str(deferred))
        except Refused as refused:
            await self._refuse(str(refused))

    async def _refuse(self, reason: str) -> None:
        """Say that there is no answer; what time alone is lacking for becomes a job first."""
        if reason in _NOT_IN_TIME:
            self._course.judge(self._outline.promised, None)
        job_id = ""
        if reason in DEFERRED and self._deferral.is_open:
            job_id = await self._submit()
            self._stage(JOB, "ok" if job_id else UNAVAILABLE)
        if job_id:
            self._report.defer(reason, job_id)
        else:
            self._report.refuse(reason)

    async def _answer_or_follow(self) -> bool:
        """Share the answer of whoever makes the same one, or make it; False if a leader is lost."""
        try:
            await self._board()
            self._course.stay(self._left_s())
            vector = await self._embed()
            ground = await self._find(vector)
            self._cited = Cited(ground)
            prompt = self._prompt(self._outline.rungs.writer, ground)
            await self._look_up_prompt(prompt)
            written = await self._write(ground)
        except LeaderFound as found:
            self._course.leave()
            await self._hops.close()
            self._lookups.forget()
            budget = self._budget.keeping(self._reserve_s)
            return await self._following.follow(
                found.flight, self._run, found.record, budget, self._give_up_s()
            )
        await self._complete(written, ground, prompt, vector)
        self._judge_plan()
        return True

    def _judge_plan(self) -> None:
        """Hold the plan's promise against what came."""
        at_s = self._ledger.first_text_at_s
        kept = at_s is not None and at_s <= self._budget.first_text_by_s
        took_s = at_s - self._entered_at_s if kept and at_s is not None else None
        self._course.judge(self._outline.promised, took_s)

    # -- the same question in another run ------------------------------------------------

    async def _board(self) -> None:
        """Look for the same question in flight; Redis is asked beside what comes next.

        Raises:
            LeaderFound: it is in flight on this replica.
            StoredAnswerFound: a lookup under way has hit.
        """
        wait_s = self._following.wait_s
        if wait_s is None:
            return
        record = self._ledger.start(FLIGHT, wait_s)
        boarding = self._following.board(self._passenger(), record)
        # Nothing else is begun while the same question on this replica is asking Redis; where
        # nobody asks, the vector is asked for first, which takes longer.
        is_known_here = self._following.is_known_here
        calling = self._hops.calling(record, boarding)
        if is_known_here:
            await self._lookups.head_start(calling, wait_s)
        else:
            self._lookups.add(calling)
        self._lookups.check()

    def _passenger(self) -> Passenger:
        planned, in_s = self._outline.rungs.quality, self._outline.expected_s
        due_s = self._budget.clock() + in_s
        needs = Offer(self._question.minimum_quality or planned, self._left_s())
        return Passenger(
            self._run,
            Offer(planned, in_s),
            needs,
            lambda: self._text_in_s(due_s),
            missed_s=self._missed_s(),
        )

    def _missed_s(self) -> float:
        """Return how long ago an answer landed that the exact lookup would have found."""
        if self._exact_outcome == _OUTDATED:
            return 0.0
        if self._exact_outcome != _NOT_STORED:
            return math.inf
        return self._budget.clock() - self._looked_at_s + _STORED_WITHIN_S

    def _text_in_s(self, due_s: float) -> float:
        """Return the seconds to the first text: as planned or, once that is past, at the latest."""
        if self._ledger.first_text_at_s is not None:
            return 0.0
        planned_s = due_s - self._budget.clock()
        return planned_s if planned_s > 0 else self._budget.patience_s()

    def _give_up_s(self) -> float:
        """Return how long a leader may be silent: then there is still time without it."""
        return max(0.0, self._left_s() - self._course.needed_s())

    def _plan_anew(self) -> None:
        """Plan for the time that is left once a leader is lost."""
        if self._ledger.first_text_at_s is not None:
            # Text was shown and withdrawn: what counts now is the end.
            self._budget = replace(self._budget, first_text_by_s=self._budget.end_by_s)
        self._course.restart()
        self._outline = self._course.outline(self._left_s())

    # -- a stored answer ---------------------------------------------------------------

    async def _look_up_exact(self) -> None:
        """Give the exact lookup its head start; it goes on beside the rest if it needs more."""
        if self._question.cache_control.reads:
            self._looked_at_s = self._budget.clock()
            limit_s = min(self._policy.lookup_limit_s, self._left_s())
            calling = self._hops.lookup(self._lookup(CacheLayer.EXACT), limit_s)
            await self._lookups.head_start(calling, self._policy.head_start_s)
        # The plan comes first whatever the outcome; both reach the caller together.
        is_answered = self._lookups.has_hit() or not await self._enters()
        if not is_answered:
            self._outline = self._course.outline(self._left_s())
        self._report.begin(self._outline, self._budget, is_answered=is_answered)
        self._lookups.check()

    async def _enters(self) -> bool:
        """Pass the door; return False if a stored answer came, who waited for it before it.

        What is stored already, or is being made for somebody else, costs next to nothing: only
        what would have to be made can be turned away, and nothing was spent on it by then.

        Raises:
            OverloadedError: the question is turned away.
            Deferred: it is, and has become a job.
        """
        if self._question.cache_control is CacheControl.ONLY_IF_CACHED:
            return True
        try:
            self._course.enter(self._left_s(), self._policy.losses.crowd)
        except OverloadedError as error:
            if self._following.is_known_here:
                return True
            await self._lookups.wait()
            if self._lookups.has_hit():
                return False
            await self._turned_away(error)
        self._entered_at_s = self._budget.clock()
        return True

    async def _look_up_prompt(self, prompt: Prompt) -> None:
        """Look for an answer to the very same prompt: documents may change around it."""
        if not (self._question.cache_control.reads and prompt.passages):
            return
        lookup = replace(self._lookup(CacheLayer.PROMPT), prompt_sha256=self._digest(prompt))
        self._lookups.add(self._hops.lookup(lookup, self._lookup_limit_s(PROMPT)))
        await self._lookups.settle()
        self._course.ended(PROMPT)

    async def _look_up_lesser(self) -> None:
        """Look for a stored answer that was passed over while a better one could be made.

        Raises:
            StoredAnswerFound: there is one, and it is better than sentences of the passages.
        """
        limit_s = min(self._policy.lookup_limit_s, self._left_s() - self._policy.costs.extract)
        if self._exact_outcome in _LESSER and limit_s > 0:
            least = max(self._question.minimum_quality, Quality.FAST_LEXICAL)
            lookup = replace(
                self._lookup(CacheLayer.EXACT), minimum_quality=least, accept_stale=True
            )
            self._lookups.add(self._hops.lookup(lookup, limit_s))
            await self._lookups.settle()

    def _lookup(self, layer: CacheLayer) -> Lookup:
        return Lookup(
            tenant_id=self._question.tenant_id,
            layer=layer,
            asked=self._key,
            min_similarity=self._policy.min_similarity,
            minimum_quality=self._question.minimum_quality or self._outline.rungs.quality,
            accept_stale=self._policy.accept_stale,
            refreshes=self._question.cache_control is CacheControl.DEFAULT,
            shares_personal=self._policy.shares_personal,
            provenance=PROVENANCES[self._policy.provenance],
            wrong_hit_allowance=self._policy.wrong_hit_allowance,
            policy=self._policy.name,
        )

    async def _replay(self, found: Found) -> None:
        """Send a stored answer as it was, with what is true of it today."""
        hit = self._hit(found)
        events: list[Event] = [each.event for each in found.events]
        if found.layer is CacheLayer.PROMPT:
            # The sources were read just now and are sent already; those are current.
            today = map(self._as_of_now, events)
            events = [event for event in today if event is not None]
        if self._policy.replay_words_per_s:
            await self._replay_slowly(events)
            events = []
        self._report.replay(events, found.decision, hit)

    def _hit(self, found: Found) -> CacheHit:
        """Return what is told of a stored answer; begins to make it anew if that is due."""
        decision = found.decision
        return CacheHit(
            layer=found.layer,
            similarity=decision.similarity or 0.0,
            age_s=decision.age_s,
            entry_id=decision.entry_id,
            stale=decision.stale,
            refresh_run_id=self._refresh(self._question, decision) if decision.refresh else "",
            index_version=decision.index_version,
        )

    async def _replay_slowly(self, events: Sequence[Event]) -> None:
        """Send a stored answer at the pace of the policy, within the time there is."""
        await self._hops.close()
        record = self._ledger.start(REPLAY, self._end_s())
        timed = timetable(events, self._policy.replay_words_per_s, self._end_s())
        with self._ledger.waiting(record):
            await replay(timed, self._report.tell, self._budget.clock)
        record.end("ok")

    def _as_of_now(self, event: Event) -> Event | None:
        return self._cited.with_stored(event) if isinstance(event, Sources) else event

    # -- a follow-up -------------------------------------------------------------------

    def _make_stand_alone(self) -> None:
        """Search for a follow-up of a conversation as the question that it stands for."""
        if not self._question.history:
            return
        record = self._ledger.start(REWRITING, self._left_s())
        rewritten = standing_alone(self._question.question, self._question.history)
        self._searched = replace(self._question, question=rewritten.text)
        record.end(f"ok:{rewritten.how}")
        self._stage(REWRITING, record.outcome)

    # -- passages ----------------------------------------------------------------------

    async def _embed(self) -> Embeddings | None:
        """Return the question as a vector; None if there is no time or nobody to make it."""
        if not self._course.begins(EMBEDDING, self._left_s()):
            self._ledger.skip(EMBEDDING, NO_TIME)
            return None
        limit_s = self._course.limit_s(EMBEDDING, self._left_s())
        hedge = self._hedge(EMBEDDING, self._clients.embedding.may_hedge)
        calling = self._hops.embed(self._searched.question, limit_s, hedge)
        try:
            vector = await self._lookups.until(calling)
        except MeshError as error:
            self._lose(EMBEDDING, error)
            self._course.ended(EMBEDDING, is_done=False)
            return None
        self._stage(EMBEDDING, "ok")
        self._course.ended(EMBEDDING)
        return vector

    async def _find(self, vector: Embeddings | None) -> Ground:
        """Search documents, beside stored meanings if those need more than a moment.

        Raises:
            StoredAnswerFound: a stored answer of the same meaning serves.
            Refused: there is nothing to answer from.
            MeshError: the caller asked for something that cannot be.
        """
        await self._look_up_meaning(vector)
        if self._question.cache_control is CacheControl.ONLY_IF_CACHED:
            await self._lookups.settle()
            raise Refused("NOT_CACHED")
        ground = await self._search(vector)
        await self._lookups.settle()
        if ground.passages:
            self._run.emit(ground.sources())
        elif not self._may_go_unsupported(ground):
            if not ground.searched:
                raise Refused("NOT_SEARCHED")
            self._keep_refusal("NOTHING_FOUND", ground, vector)
            raise Refused("NOTHING_FOUND")
        return ground

    async def _look_up_meaning(self, vector: Embeddings | None) -> None:
        """Give the semantic lookup its head start; it goes on beside the search if it must.

        Raises:
            StoredAnswerFound: it hit already.
        """
        if not self._question.cache_control.reads:
            return
        if vector is None:
            self._ledger.skip(SEMANTIC, "NO_VECTOR")
            return
        lookup = replace(
            self._lookup(CacheLayer.SEMANTIC),
            embedding=vector[0],
            embedding_fingerprint=vector.fingerprint,
        )
        calling = self._hops.lookup(lookup, self._lookup_limit_s(SEMANTIC))
        started_s, usual_s = self._budget.clock(), self._policy.semantic_head_start_s
        calling.task.add_done_callback(lambda _: self._course.led(usual_s, calling.record))
        lead_s = self._course.lead_s(usual_s, self._left_s())
        await self._lookups.head_start(calling, lead_s)
        self._course.learn(SEMANTIC, LEAD, self._budget.clock() - started_s, False)
        self._course.ended(SEMANTIC)
        self._lookups.check()

    async def _search(self, vector: Embeddings | None) -> Ground:
        query = query_of(self._searched, self._policy, vector)
        limit_s = self._course.limit_s(RETRIEVAL, self._left_s())
        hedge = self._hedge(RETRIEVAL, self._clients.retrieval.may_hedge)
        calling = self._hops.search(query, limit_s, hedge)
        try:
            found = await self._lookups.until(calling)
        except CALLERS_FAULT:
            raise
        except (FingerprintMismatchError, DimensionMismatchError) as error:
            # The documents were read by another model; their words can still be searched.
            self._lose(EMBEDDING, error)
            return await self._search(None)
        except MeshError as error:
            self._lose(RETRIEVAL, error)
            self._course.ended(RETRIEVAL, is_done=False)
            return NO_GROUND
        ground = self._with_documents(Ground.of(found, self._question.collection))
        outcome = calling.record.outcome
        self._stage(RETRIEVAL, outcome, len(ground.passages))
        self._course.ended(RETRIEVAL, is_done=outcome == "ok")
        if outcome != "ok":
            self._report.lose(Degradation(RETRIEVAL, outcome))
        return ground

    def _with_documents(self, ground: Ground) -> Ground:
        """Add all of a small collection, if the policy has it in the prompt and it is at hand."""
        is_read = self._policy.reads_collections and self._model.tier is not ModelTier.EXTRACTIVE
        if self._libraries is None or not is_read:
            return ground
        documents = self._libraries.documents(self._question, self._policy, ground)
        return replace(ground, documents=documents)

    def _may_go_unsupported(self, ground: Ground) -> bool:
        """Return whether a model may answer without sources: only while nobody can search."""
        return (
            self._policy.unsupported
            and not ground.searched
            and self._model.tier is not ModelTier.EXTRACTIVE
        )

    # -- the text ----------------------------------------------------------------------

    async def _write(self, ground: Ground) -> Written:
        """Have the answer written; without the model, take it from the passages.

        Raises:
            Refused: neither can be done in time.
        """
        how = self._how_to_write(ground)
        self._course.writes()
        self._report.settle(ground.rungs(how.writer.rung))
        rungs = [how.writer.rung]
        if ground.passages and rungs[0] != EXTRACTIVE:
            rungs.append(EXTRACTIVE)
        for rung in rungs:
            if ground.quality(rung) < self._question.minimum_quality:
                raise Refused("BELOW_MINIMUM")
            contest = self._contest(rung, how, ground)
            try:
                written = await self._waited(contest, ground, self._clocks(rung, how))
            except MeshError as error:
                self._lose(GENERATION, error)
                broken = contest.leader.written
                if self._is_all_there_is(broken, rung):
                    return broken.ended(FinishReason.INTERRUPTED)
                await self._look_up_lesser()
                continue
            self._stage(GENERATION, contest.leader.record.outcome)
            return written
        raise Refused("NOT_WRITTEN")

    def _how_to_write(self, ground: Ground) -> HowToWrite:
        """Decide who writes; without passages, only a model can."""
        how = self._course.text(self._left_s())
        if not ground.passages and how.writer.rung == EXTRACTIVE:
            return self._course.first_writer(self._left_s())
        return how

    def _contest(self, rung: str, how: HowToWrite, ground: Ground) -> Contest:
        """Return a text in the making, that a second writer may join if `how` says so."""
        is_first = rung == how.writer.rung

        def emit(event: Said) -> None:
            self._report.quality = ground.quality(contest.leader.rung)
            self._tell(event)

        def second() -> Writing | None:
            return self._writing(FAST, ground, emit) if self._course.takes_backup() else None

        first = self._writing(rung, ground, emit)
        after_s = how.hedge_after_s if is_first else float("inf")
        self._report.quality = ground.quality(rung)
        contest = Contest(first, second, after_s, emit)
        self._report.spends(lambda: contest.leader.written.usage)
        return contest

    def _tell(self, event: Said) -> None:
        """Send a piece of the text, after the source that it cites if that one is new."""
        before = self._cited.count
        placed = self._cited.placed(event)
        if self._cited.count > before:
            self._run.emit(self._cited.sources())
        self._report.text(placed)

    def _writing(self, rung: str, ground: Ground, emit: Emit) -> Writing:
        record, form = self._ledger.start(GENERATION, self._end_s()), self._form(rung, ground)
        return Writing(self._clients.generation, rung, record, emit, form)

    def _form(self, rung: str, ground: Ground) -> Form | None:
        """Return what makes sections of a text, if sections were asked for."""
        if self._question.render is not Render.OUTLINE:
            return None
        if rung == EXTRACTIVE:
            return Excerpts(self._question.question, ground.read_by(rung))
        return InSections(self._question.question)

    async def _waited(self, contest: Contest, ground: Ground, clocks: Clocks) -> Written:
        """Wait for a text, and note in the ledger for whom."""
        since_s = self._budget.clock()
        first = contest.leader
        try:
            written = await contest.run(lambda rung: self._prompt(rung, ground), clocks)
        finally:
            self._ledger.waited(since_s, contest.leader.record)
            self._learn_silence(contest)
        if contest.leader is not first:
            self._report.lose(Degradation(GENERATION, LATE))
        return written

    def _learn_silence(self, contest: Contest) -> None:
        """Learn from writers that were given up before their first text."""
        for writing in contest.writings:
            outcome, used_s = writing.record.outcome, writing.record.used_s(self._budget.clock())
            if not writing.written.events and outcome in CUT:
                self._course.learn(GENERATION, writing.rung, used_s, True)

    def _is_all_there_is(self, written: Written, rung: str) -> bool:
        """Return whether a broken text stays; else what was shown of it is withdrawn."""
        if not written.events:
            return False
        costs = self._policy.costs
        if rung == EXTRACTIVE or self._budget.remaining_s() < (costs.extract + costs.deliver):
            return True
        self._report.revise(Revised("MODEL_INTERRUPTED"))
        return False

    def _clocks(self, rung: str, how: HowToWrite) -> Clocks:
        """Return the clocks of a text; a model leaves time to do without it."""
        total_s = self._end_s()
        if self._ledger.first_text_at_s is not None:
            # Text was shown and withdrawn: what counts now is the end.
            return Clocks(total_s, total_s)
        if rung == how.writer.rung:
            return Clocks(min(how.give_up_after_s, total_s), total_s)
        return Clocks(self._left_s(), total_s)

    def _prompt(self, rung: str, ground: Ground) -> Prompt:
        passages, tier = ground.read_by(rung), TIER_OF[rung]
        # Another model than the best one has nothing cached, and where less is read time is
        # short: there it is the passages alone.
        is_whole = tier is self._model.tier and rung != BRIEF
        documents = ground.documents if is_whole else ()
        # A model reads the conversation; sentences are picked by what the question stands for.
        asked = self._searched if tier is ModelTier.EXTRACTIVE else self._question
        return prompt_of(asked, self._policy, tier, passages, documents)

    def _digest(self, prompt: Prompt) -> bytes:
        return digest(prompt, self._model.name, self._question.scope)

    async def _complete(
        self, written: Written, ground: Ground, prompt: Prompt, vector: Embeddings | None
    ) -> None:
        """Send the last event, and keep the answer if it is whole."""
        if written.finish_reason is FinishReason.NO_ANSWER and not written.events:
            self._keep_refusal("NOT_IN_SOURCES", ground, vector)
            self._report.refuse("NOT_IN_SOURCES")
            return
        schema = self._question.output_schema
        # For half a second at most, and not on the loop.
        if (
            schema
            and written.finish_reason.is_whole
            and not await asyncio.to_thread(satisfies, written.text, schema)
        ):
            written = written.ended(FinishReason.INVALID_OUTPUT)
        completed = self._report.complete(written, _state(written.finish_reason, ground))
        if completed.answer_state is not AnswerState.COMPLETE:
            return
        if self._question.cache_control.stores:
            answer = Answer(
                tenant_id=self._question.tenant_id,
                asked=self._key,
                entry_id=self._run.run_id,
                events=numbered(self._cited.sources(), *map(self._cited.placed, written.events)),
                finish_reason=completed.finish_reason,
                quality=completed.quality,
                degraded=bool(completed.degradations),
                model=completed.model,
                prompt_sha256=self._digest(prompt),
                embedding=b"" if vector is None else vector[0],
                embedding_fingerprint="" if vector is None else vector.fingerprint,
                sources=ground.versions(),
                store_id=ground.store_id,
                made_in_s=completed.account.total_s,
                usage=completed.usage,
                index_version=ground.index_version,
                shares_personal=self._policy.shares_personal,
                provenance=PROVENANCES[self._policy.provenance],
            )
            self._keeper.keep(answer)

    def _keep_refusal(self, reason: str, ground: Ground, vector: Embeddings | None) -> None:
        """Keep for a while that there is no answer, if nothing was left out in looking for it."""
        is_sure = vector is not None and ground.searched and self._report.is_whole
        if self._question.cache_control.stores and is_sure:
            refusal = Answer(
                tenant_id=self._question.tenant_id,
                asked=self._key,
                entry_id=self._run.run_id,
                events=numbered(TextDelta(REFUSALS[reason])),
                finish_reason=FinishReason.NO_ANSWER,
                quality=Quality.REFUSAL,
                store_id=ground.store_id,
                made_in_s=self._ledger.elapsed_s(),
                index_version=ground.index_version,
                refusal=reason,
            )
            self._keeper.keep(refusal)

    # -- a job in place of an answer ---------------------------------------------------

    async def _submit(self) -> str:
        """Have a job answer; return its name, or nothing if nobody took it."""
        job_id = await self._deferral.submit(self._run.run_id, self._budget, self._ledger)
        if not job_id:
            self._report.lose(Degradation(JOB, UNAVAILABLE))
        return job_id

    async def _turned_away(self, error: OverloadedError) -> NoReturn:
        """Have a job answer in place of a run that the door has turned away.

        Raises:
            OverloadedError: there is no job; nothing was told by then.
            Deferred: there is.
        """
        if self._deferral.is_open:
            job_id = await self._submit()
            if job_id:
                raise Deferred(job_id) from error
            error.metadata[JOB] = UNAVAILABLE
        raise error

    # -- time and telling --------------------------------------------------------------

    def _left_s(self) -> float:
        """Return the seconds that are left for what comes before the first text is sent."""
        return max(0.0, self._budget.patience_s() - self._reserve_s)

    def _hedge(self, hop: str, may: Callable[[], bool]) -> Hedge:
        return Hedge(self._course.hedge_after_s(hop), may)

    def _end_s(self) -> float:
        """Return the seconds that are left until the last event has to be sent."""
        return max(0.0, self._budget.remaining_s() - self._reserve_s)

    def _lookup_limit_s(self, hop: str) -> float:
        """Return a lookup's limit: a cache that is slow must not cost what a miss costs."""
        return min(self._policy.lookup_limit_s, self._course.limit_s(hop, self._left_s()))

    def _lose(self, hop: str, error: MeshError) -> None:
        self._stage(hop, outcome_of(error))
        self._report.lose(Degradation(hop, outcome_of(error)))

    def _missed(self, lookup: HopRecord) -> None:
        if lookup.hop == EXACT:
            self._exact_outcome = lookup.outcome
        if lookup.hop != FLIGHT:
            self._stage(lookup.hop, lookup.outcome)

    def _stage(self, hop: str, outcome: str, count: int = 0) -> None:
        self._run.note(StageFinished(hop, self._ledger.elapsed_s(), outcome, count))


def _state(reason: FinishReason, ground: Ground) -> AnswerState:
    if not reason.is_whole:
        return AnswerState.PARTIAL
    return AnswerState.COMPLETE if ground.passages else AnswerState.UNSUPPORTED
