"""What is asked of a model depends on the form of its answer, and so does the answer's name."""

from __future__ import annotations

from dataclasses import replace

from libs.values import CitationPlacement, ModelTier, Question, Render
from libs.values.generation import Model
from libs.values.keys import question_key
from services.orchestrator.policy import Policy
from services.orchestrator.prompt import asked_of


def test_an_outline_is_asked_for_by_other_instructions_and_has_another_name() -> None:
    policy = Policy("p")
    asked = Question("acme", "Why?")
    model = Model(ModelTier.BEST, "best", "anthropic")
    names = {
        render: question_key("acme", asked_of(replace(asked, render=render), policy, model))
        for render in (Render.TOKEN, Render.BLOCK, Render.OUTLINE)
    }
    assert names[Render.TOKEN] == names[Render.BLOCK]
    assert names[Render.TOKEN].context != names[Render.OUTLINE].context
    after = replace(asked, citation_placement=CitationPlacement.AFTER)
    assert question_key("acme", asked_of(after, policy, model)) == names[Render.TOKEN]
    assert policy.instructions(Render.TOKEN) == policy.system
    assert policy.instructions(Render.OUTLINE).startswith(policy.system)
    other = Policy("p", outline="Write headings.")
    assert other.system_version(Render.OUTLINE) != policy.system_version(Render.OUTLINE)
    assert other.system_version(Render.TOKEN) == policy.system_version(Render.TOKEN)
