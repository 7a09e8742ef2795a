"""The manifests are well, and every check of them can fail."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.manifests import invariants as check
from tests.manifests.rendering import NO_RENDERER, OVERLAYS, Rendered, render, renderer
from tests.manifests.validating import VERSIONS, problems_of

if renderer() is None:
    pytest.skip(NO_RENDERER, allow_module_level=True)

Json = dict[str, Any]


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> Rendered:
    return render(request.param)


@pytest.fixture(scope="module")
def production() -> Rendered:
    return render("production")


@pytest.mark.parametrize("version", VERSIONS)
def test_an_overlay_is_valid(overlay: Rendered, version: str) -> None:
    assert list(problems_of(overlay, version)) == []


@pytest.mark.parametrize("invariant", check.INVARIANTS, ids=lambda each: each.__name__)
def test_an_overlay_keeps_what_must_hold(overlay: Rendered, invariant: check.Invariant) -> None:
    assert list(invariant(overlay)) == []


def pod(rendered: Rendered, name: str) -> Json:
    kind = "StatefulSet" if name in ("retrieval", "traces") else "Deployment"
    found: Json = rendered.named(kind, name)["spec"]["template"]["spec"]
    return found


def container(rendered: Rendered, name: str) -> Json:
    found: Json = pod(rendered, name)["containers"][0]
    return found


def set_variable(rendered: Rendered, name: str, variable: str, value: str) -> None:
    env = container(rendered, name)["env"]
    env[:] = [each for each in env if each["name"] != variable]
    env.append({"name": variable, "value": value})


def lose_a_selector(rendered: Rendered) -> None:
    rendered.named("Service", "cache")["spec"]["selector"] = {"app": "cache"}


def listen_elsewhere(rendered: Rendered) -> None:
    set_variable(rendered, "cache", "CACHE_ADDRESS", "0.0.0.0:50099")


def call_nobody(rendered: Rendered) -> None:
    set_variable(rendered, "cache", "CACHE_RETRIEVAL_TARGET", "dns:///retrieval:50055")


def ask_for_another(rendered: Rendered) -> None:
    container(rendered, "cache")["readinessProbe"]["grpc"]["service"] = "hasten.Cache"


def be_never_ready(rendered: Rendered) -> None:
    container(rendered, "edge")["readinessProbe"]["httpGet"]["path"] = "/healthz"


def misspell(rendered: Rendered) -> None:
    set_variable(rendered, "cache", "CACHE_TTL_SECONDS", "60")


def hurry(rendered: Rendered) -> None:
    pod(rendered, "orchestrator")["terminationGracePeriodSeconds"] = 30


def end_at_once(rendered: Rendered) -> None:
    del container(rendered, "cache")["lifecycle"]


def cut_answers(rendered: Rendered) -> None:
    set_variable(rendered, "edge", "EDGE_MAX_DEADLINE_S", "120")


def open_all(rendered: Rendered) -> None:
    rendered.named("NetworkPolicy", "default-deny")["spec"]["ingress"] = [{}]


def let_the_edge_in(rendered: Rendered) -> None:
    peers = rendered.named("NetworkPolicy", "cache")["spec"]["ingress"][0]["from"]
    peers.append({"podSelector": {"matchLabels": {"app.kubernetes.io/name": "edge"}}})


def close_a_way(rendered: Rendered) -> None:
    del rendered.named("NetworkPolicy", "retrieval")["spec"]["egress"]


def be_nobodys_part(rendered: Rendered) -> None:
    template = rendered.named("Deployment", "collector")["spec"]["template"]
    del template["metadata"]["labels"]["app.kubernetes.io/part-of"]


def call_another(rendered: Rendered) -> None:
    set_variable(rendered, "edge", "EDGE_CACHE_TARGET", "dns:///cache:50052")


def hold_a_node(rendered: Rendered) -> None:
    budget = rendered.named("PodDisruptionBudget", "retrieval")["spec"]
    del budget["maxUnavailable"]
    budget["minAvailable"] = 1


def be_root(rendered: Rendered) -> None:
    pod(rendered, "cache")["securityContext"]["runAsNonRoot"] = False


def throttle(rendered: Rendered) -> None:
    container(rendered, "edge")["resources"]["limits"]["cpu"] = "500m"


FAULTS: list[tuple[Callable[[Rendered], None], check.Invariant]] = [
    (lose_a_selector, check.selectors_select),
    (listen_elsewhere, check.ports_agree),
    (call_nobody, check.targets_exist),
    (ask_for_another, check.probes_are_of_the_code),
    (be_never_ready, check.probes_are_of_the_code),
    (misspell, check.variables_exist),
    (hurry, check.grace_is_enough),
    (end_at_once, check.grace_is_enough),
    (cut_answers, check.grace_is_enough),
    (open_all, check.policies_are_the_arrows),
    (let_the_edge_in, check.policies_are_the_arrows),
    (close_a_way, check.policies_are_the_arrows),
    (be_nobodys_part, check.every_pod_reaches_names_and_traces),
    (call_another, check.targets_are_arrows),
    (hold_a_node, check.drains_are_possible),
    (be_root, check.pods_are_restricted),
    (throttle, check.pods_are_restricted),
]


@pytest.mark.parametrize(("plant", "invariant"), FAULTS, ids=lambda each: each.__name__)
def test_a_planted_fault_is_found(
    production: Rendered, plant: Callable[[Rendered], None], invariant: check.Invariant
) -> None:
    rendered = Rendered(production.name, "", copy.deepcopy(production.objects))
    plant(rendered)
    assert len(list(invariant(rendered))) >= 1


def test_every_invariant_has_been_seen_to_fail() -> None:
    assert {invariant for _, invariant in FAULTS} == set(check.INVARIANTS)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("Deployment", "cache"), ("HTTPRoute", "edge"), ("ScaledObject", "jobs-worker")],
)
def test_a_field_that_is_not_there_is_found(production: Rendered, kind: str, name: str) -> None:
    rendered = Rendered(production.name, "", copy.deepcopy(production.objects))
    rendered.named(kind, name)["spec"]["replica"] = 2
    assert len(list(problems_of(rendered, VERSIONS[-1]))) == 1
