"""Stands between a decision to reuse an answer and the answer: does such reuse hold up?"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from libs.values.cache import Lookup
from libs.values.keys import question_key
from services.cache.decision import Candidate, Judgement
from services.cache.reasons import Reason
from services.cache.trust.book import Note
from services.cache.trust.desk import Desk
from services.cache.trust.judge import Case
from services.cache.trust.looks import Hit, Look, Source
from services.cache.trust.regions import Regions
from services.cache.trust.trust import Traffic, Trust
from services.cache.vectors import Vector


class Warden:
    """Holds hits back that are not trusted, and has some of all hits looked at.

    Nothing here waits: what takes time is left to the desk.
    """

    def __init__(
        self,
        trust: Trust,
        desk: Desk,
        *,
        allowance: float,
        share: float,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Guard with these.

        Args:
            trust: the targets.
            desk: where hits are judged, in the background.
            allowance: the share of wrong hits that is tolerated where a lookup says none.
            share: of hits that are looked at while nothing is wrong, in [0, 1].
            chance: numbers in [0, 1), all as likely.
            clock: seconds of the wall clock.
        """
        self._trust = trust
        self._desk = desk
        self._allowance = allowance
        self._share = share
        self._chance = chance
        self._clock = clock
        self._regions = Regions()

    def settle(self, lookup: Lookup, vector: Vector, found: Judgement) -> Judgement:
        """Return what was found, or a miss if such hits were wrong too often lately.

        A hit without a probability passes: it was decided by cosine alone.
        """
        entry, probability = found.entry, found.probability
        if entry is None or probability is None:
            return found
        allowance = lookup.wrong_hit_allowance or self._allowance
        traffic = Traffic(lookup.tenant_id, lookup.policy, allowance)
        region = self._regions.of(vector)
        served = probability >= self._trust.target(traffic, region)
        share, base = self._trust.shares(traffic, region, self._share, served=served)
        if share > 0:
            place = (lookup.tenant_id, lookup.policy, allowance, region)
            self._have_judged(lookup, found, Hit(*place, probability, share, base, served))
        if served:
            return found
        held_back = (Candidate(found.similarity or 0.0, entry), Reason.NOT_TRUSTED)
        return Judgement(
            Reason.NOT_TRUSTED,
            similarity=found.similarity,
            refused=(*found.refused, held_back),
            probability=probability,
        )

    def _have_judged(self, lookup: Lookup, found: Judgement, hit: Hit) -> None:
        """Note a hit for those who may speak of it later; show some to a judge now."""
        entry, asked = found.entry, lookup.asked
        if entry is None or asked is None:
            return
        is_drawn = self._chance() < hit.share
        if hit.served or is_drawn:
            # What is looked at now is not judged once more when its question is answered anew.
            is_open = not is_drawn or not (self._desk.has_judge or hit.served)
            key = question_key(lookup.tenant_id, asked).exact if is_open else ""
            self._desk.note(Note(hit, key, entry.key, entry.entry_id))
        if not is_drawn:
            return
        if self._desk.has_judge:
            case = Case(lookup.tenant_id, asked.question, entry.question, "")
            self._desk.show(hit, case, entry.pages)
        elif hit.served:
            # Nobody looks, so it is right until somebody complains. One complaint weighs what
            # a look does: it is taken that as many complain as would be looked at.
            self._desk.found(Look(hit, wrong=False, source=Source.SILENCE, at_s=self._clock()))
