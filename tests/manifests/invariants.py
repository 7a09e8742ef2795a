"""What must hold between the manifests, the code and the architecture; each yields problems."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from cli.checking import config_of
from cli.layout import HEALTH_NAMES as _HEALTH
from libs.config import ServiceConfig, describe
from tests.manifests.rendering import Rendered

Invariant = Callable[[Rendered], Iterator[str]]
Json = dict[str, Any]

# Processes by what they are called here; the code has shorter names for some.
_MODULES = {"jobs-worker": "jobs.worker"}
_CALLED = {"jobs-worker": "worker"}

# Who calls whom: the arrows of ARCHITECTURE.md. A worker of jobs asks as anyone else does.
ARROWS = {
    "edge": {"orchestrator", "retrieval", "jobs", "redis"},
    "orchestrator": {"cache", "embedding", "retrieval", "generation", "jobs", "redis"},
    "cache": {"retrieval", "embedding", "generation", "redis"},
    "retrieval": {"embedding"},
    "embedding": set(),
    "generation": set(),
    "jobs": {"redis"},
    "jobs-worker": {"orchestrator", "retrieval", "generation", "embedding", "redis"},
    "traces": set(),
}
_SHARED_VARIABLES = re.compile(r"^(OTEL_\w+|OMP_NUM_THREADS)$")
_NAMES_PORT, _TRACES_PORT = 53, 4317
_KEPT_FREE_S = 5.0
"""Seconds of a pod's grace that must be left when all else has taken its time."""


def workloads(rendered: Rendered) -> Iterator[tuple[str, Json, Json]]:
    """Yield each Deployment and StatefulSet: its name, itself, and its only container."""
    for each in rendered.of("Deployment", "StatefulSet"):
        (container,) = each["spec"]["template"]["spec"]["containers"]
        yield each["metadata"]["name"], each, container


def ours(rendered: Rendered) -> Iterator[tuple[str, Json, Json]]:
    """Yield the workloads that run hasten's own images."""
    for name, workload, container in workloads(rendered):
        if container["image"].startswith("hasten/"):
            yield name, workload, container


def kind_of(name: str) -> type[ServiceConfig]:
    """Return the settings of a process."""
    return config_of(_MODULES.get(name, name))


def health_name(name: str) -> str:
    """Return what a process calls itself when it is asked for its health."""
    return _HEALTH[_CALLED.get(name, name)]


def labels_of(workload: Json) -> dict[str, str]:
    """Return the labels of a workload's pods."""
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def variables(container: Json) -> dict[str, str]:
    """Return a container's variables that have a value in the manifest."""
    return {each["name"]: each.get("value", "") for each in container.get("env", [])}


def matches(selector: Json, labels: dict[str, str]) -> bool:
    """Return whether a label selector selects these labels."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    return all(
        rule["operator"] == "In" and labels.get(rule["key"]) in rule["values"]
        for rule in selector.get("matchExpressions", [])
    )


def selectors_select(rendered: Rendered) -> Iterator[str]:
    """Every Service, PDB and policy selects pods that there are."""
    pods = [labels_of(workload) for _, workload, _ in workloads(rendered)]
    for each in rendered.of("Service"):
        if not any(matches({"matchLabels": each["spec"]["selector"]}, pod) for pod in pods):
            yield f"Service {each['metadata']['name']} selects no pod"
    for each in rendered.of("PodDisruptionBudget"):
        if not any(matches(each["spec"]["selector"], pod) for pod in pods):
            yield f"PodDisruptionBudget {each['metadata']['name']} selects no pod"
    # The policies of a Redis that is elsewhere select none, and harm none.
    for each in rendered.of("NetworkPolicy"):
        name = each["metadata"]["name"]
        if name != "valkey" and not any(matches(each["spec"]["podSelector"], p) for p in pods):
            yield f"NetworkPolicy {name} selects no pod"


def ports_agree(rendered: Rendered) -> Iterator[str]:
    """A process listens on the port that its container names, and its Service leads there."""
    for name, _, container in ours(rendered):
        declared = {each["name"]: each["containerPort"] for each in container["ports"]}
        for variable, value in variables(container).items():
            port_name = _port_name(variable, declared)
            if port_name and not value.endswith(f":{declared[port_name]}"):
                yield f"{name}: {variable}={value} is not the port {port_name}"
        service = rendered.named("Service", name)
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in declared:
                yield f"{name}: its Service leads to {port['targetPort']}, which is no port"


def _port_name(variable: str, declared: dict[str, int]) -> str:
    if variable.endswith("_METRICS_ADDRESS"):
        return "metrics"
    if variable.endswith("_HEALTH_ADDRESS"):
        return "health"
    if variable.endswith("_ADDRESS"):
        return "http" if "http" in declared else "grpc"
    return ""


def targets_exist(rendered: Rendered) -> Iterator[str]:
    """Every target is a Service, at its port."""
    services = {each["metadata"]["name"]: each["spec"]["ports"] for each in rendered.of("Service")}
    for name, _, container in ours(rendered):
        for variable, value in variables(container).items():
            if variable.endswith("_TARGET"):
                host, _, port = value.removeprefix("dns:///").rpartition(":")
                if all(str(each["port"]) != port for each in services.get(host, [])):
                    yield f"{name}: {variable}={value} leads nowhere"


def probes_are_of_the_code(rendered: Rendered) -> Iterator[str]:
    """Startup and readiness ask for the health name of the code, at the port of the calls."""
    for name, _, container in ours(rendered):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe not in container:
                yield f"{name}: no {probe}"
        if name == "edge":
            yield from _http_probes(container)
        else:
            yield from _grpc_probes(name, container)


def _http_probes(container: Json) -> Iterator[str]:
    wanted = {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
    for probe, path in wanted.items():
        if container.get(probe, {}).get("httpGet", {}).get("path") != path:
            yield f"edge: {probe} does not ask {path}"


def _grpc_probes(name: str, container: Json) -> Iterator[str]:
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    for probe in ("startupProbe", "readinessProbe"):
        asked = container.get(probe, {}).get("grpc", {})
        if asked.get("service") != health_name(name):
            yield f"{name}: {probe} asks for {asked.get('service')}, not {health_name(name)}"
        if asked.get("port") != ports["health"]:
            yield f"{name}: {probe} asks at port {asked.get('port')}"


def variables_exist(rendered: Rendered) -> Iterator[str]:
    """Every variable is one that the process reads."""
    shared = rendered.named("ConfigMap", "hasten-settings")["data"]
    for name, _, container in ours(rendered):
        known = {variable for variable, _, _ in describe(kind_of(name))}
        known |= {f"{variable}_FILE" for variable in known}
        for variable in (*variables(container), *shared):
            if variable not in known and not _SHARED_VARIABLES.match(variable):
                yield f"{name}: {variable} sets nothing"


def grace_is_enough(rendered: Rendered) -> Iterator[str]:
    """A pod's grace outlasts its sleep, its drain and its calls; the edge's, any answer."""
    for name, workload, container in ours(rendered):
        spec, kind = workload["spec"]["template"]["spec"], kind_of(name)
        sleep_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {})
        taken_s = float(sleep_s.get("seconds", 0))
        if not taken_s:
            yield f"{name}: it does not sleep before it ends"
        taken_s += _seconds(kind, container, "drain_s") + _seconds(kind, container, "grace_s")
        if taken_s + _KEPT_FREE_S > spec["terminationGracePeriodSeconds"]:
            yield f"{name}: it may take {taken_s:g} s to end and is given too little"
        if name == "edge":
            longest_s = _seconds(kind, container, "max_deadline_s")
            if _seconds(kind, container, "grace_s") < longest_s:
                yield f"edge: its grace is shorter than an answer of {longest_s:g} s"


def _seconds(kind: Any, container: Json, field: str) -> float:
    prefix = str(kind.model_config["env_prefix"])
    value = variables(container).get(f"{prefix}{field}".upper())
    return float(value or kind.model_fields[field].default)


def policies_are_the_arrows(rendered: Rendered) -> Iterator[str]:
    """Traffic is denied but along the arrows, which both ends allow."""
    policies = rendered.of("NetworkPolicy")
    denies = rendered.named("NetworkPolicy", "default-deny")["spec"]
    if denies["podSelector"] or denies.get("ingress") or denies.get("egress"):
        yield "default-deny does not deny all"
    pods = {name: labels_of(workload) for name, workload, _ in ours(rendered)}
    ports = {name: _first_port(container) for name, _, container in ours(rendered)}
    for caller, labels in pods.items():
        for callee in pods.keys() - {caller, "traces"}:
            wanted = callee in ARROWS[caller]
            out = _lets_out(policies, labels, pods[callee], ports[callee])
            let_in = _lets_in(policies, labels, pods[callee])
            if out is not wanted:
                yield f"{caller} -> {callee}: egress {'missing' if wanted else 'is too much'}"
            if let_in is not wanted:
                yield f"{caller} -> {callee}: ingress {'missing' if wanted else 'is too much'}"


def every_pod_reaches_names_and_traces(rendered: Rendered) -> Iterator[str]:
    """Every pod that calls others may ask for their names, and its spans arrive."""
    policies = rendered.of("NetworkPolicy")
    traces = labels_of(rendered.named("StatefulSet", "traces"))
    for name, workload, _ in workloads(rendered):
        labels = labels_of(workload)
        # It calls nobody.
        if name == "valkey":
            continue
        if not any(_is_for_names(rule) for rule in _egress(policies, labels)):
            yield f"{name}: it may not ask for names"
        if not _lets_out(policies, labels, traces, _TRACES_PORT):
            yield f"{name} -> traces: egress missing"
        if not _lets_in(policies, labels, traces):
            yield f"{name} -> traces: ingress missing"


def _is_for_names(rule: Json) -> bool:
    return {"port": _NAMES_PORT, "protocol": "UDP"} in rule.get("ports", [])


def _egress(policies: list[Json], labels: Json) -> Iterator[Json]:
    for policy in policies:
        if matches(policy["spec"]["podSelector"], labels):
            yield from policy["spec"].get("egress", [])


def targets_are_arrows(rendered: Rendered) -> Iterator[str]:
    """What a process is set up to call is an arrow, and every arrow is set up."""
    for name, _, container in ours(rendered):
        called = {
            value.removeprefix("dns:///").partition(":")[0]
            for variable, value in variables(container).items()
            if variable.endswith("_TARGET")
        }
        if called != ARROWS[name] - {"redis"}:
            yield f"{name}: it is set up to call {sorted(called)}, not {sorted(ARROWS[name])}"
        has_redis = any(each.endswith("_REDIS_URL_FILE") for each in variables(container))
        if has_redis is not ("redis" in ARROWS[name]):
            yield f"{name}: Redis is {'not ' if not has_redis else ''}set up against the arrows"


def _first_port(container: Json) -> int:
    return int(container["ports"][0]["containerPort"])


def _lets_out(policies: list[Json], caller: Json, callee: Json, port: int) -> bool:
    return any(
        _at(rule, port) and _covers(rule.get("to"), callee) for rule in _egress(policies, caller)
    )


def _lets_in(policies: list[Json], caller: Json, callee: Json) -> bool:
    return any(
        _covers(rule.get("from"), caller)
        for policy in policies
        if matches(policy["spec"]["podSelector"], callee)
        for rule in policy["spec"].get("ingress", [])
    )


def _at(rule: Json, port: int) -> bool:
    return "ports" not in rule or port in [each["port"] for each in rule["ports"]]


def _covers(peers: list[Json] | None, labels: Json) -> bool:
    # A rule that names nobody is for everyone.
    return peers is None or any(
        "podSelector" in peer
        and "namespaceSelector" not in peer
        and matches(peer["podSelector"], labels)
        for peer in peers
    )


def drains_are_possible(rendered: Rendered) -> Iterator[str]:
    """A PDB lets a pod go, whatever the number of replicas."""
    for name, workload, _ in ours(rendered):
        budget = rendered.named("PodDisruptionBudget", name)["spec"]
        replicas = workload["spec"].get("replicas", 1)
        if replicas - int(budget.get("minAvailable", replicas - 1)) < 1:
            yield f"{name}: with {replicas} replicas its PDB lets none go"
        if int(budget.get("maxUnavailable", 1)) < 1:
            yield f"{name}: its PDB lets none go"


def pods_are_restricted(rendered: Rendered) -> Iterator[str]:
    """Nothing runs as root, writes to its root, or reaches the API server."""
    for name, workload, container in workloads(rendered):
        pod, security = workload["spec"]["template"]["spec"], container.get("securityContext", {})
        if not pod.get("securityContext", {}).get("runAsNonRoot"):
            yield f"{name}: it may run as root"
        if security.get("readOnlyRootFilesystem") is not True:
            yield f"{name}: it may write to its root"
        if security.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: it may become more than it is"
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{name}: it gets a token of the API server"
        if "memory" not in container["resources"].get("limits", {}):
            yield f"{name}: nothing bounds its memory"
        if "cpu" in container["resources"].get("limits", {}):
            yield f"{name}: a limit on CPU stops its event loop"


INVARIANTS: tuple[Invariant, ...] = (
    selectors_select,
    ports_agree,
    targets_exist,
    probes_are_of_the_code,
    variables_exist,
    grace_is_enough,
    policies_are_the_arrows,
    every_pod_reaches_names_and_traces,
    targets_are_arrows,
    drains_are_possible,
    pods_are_restricted,
)
