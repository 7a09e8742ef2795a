"""What an answer's headers say of it: its run, the cache, where its time went."""

from __future__ import annotations

from libs.values import Account, CacheHit, Completed, Plan

SAYS = {
    "X-Run-Id": "Name of the run, for the paths under /v1/runs.",
    "X-Cache": "`hit exact`, `hit semantic`, `hit prompt`, `stale` or `miss`.",
    "Age": "Seconds since the stored answer was made.",
    "Server-Timing": "Milliseconds in all, to the first text, and of each hop.",
    "Preference-Applied": "What of `Prefer` was followed.",
}
"""The headers by what they say; a stream has those that are known at its first frame."""


def headers_of(plan: Plan | None, completed: Completed | None) -> dict[str, str]:
    """Return the headers of an answer, as far as it is known."""
    headers = {}
    if plan is not None:
        headers["X-Run-Id"] = plan.run_id
    if completed is not None:
        headers["X-Cache"] = _cache(completed.cache_hit)
        headers["Server-Timing"] = _timing(completed.account)
        if completed.cache_hit is not None:
            headers["Age"] = str(int(completed.cache_hit.age_s))
    return headers


def _cache(hit: CacheHit | None) -> str:
    if hit is None:
        return "miss"
    return "stale" if hit.stale else f"hit {hit.layer.name.lower()}"


def _timing(account: Account) -> str:
    """Return the account as `Server-Timing`, whose durations are in milliseconds."""
    metrics = [_metric("total", account.total_s)]
    if account.first_text_s is not None:
        metrics.append(_metric("first-text", account.first_text_s))
    for hop in account.hops:
        said = f"skipped: {hop.skipped}" if hop.skipped else hop.outcome
        metrics.append(_metric(hop.hop, hop.used_s, said))
    return ", ".join(metrics)


def _metric(name: str, seconds: float, said: str = "") -> str:
    described = f';desc="{said}"' if said else ""
    return f"{name};dur={round(seconds * 1e3, 3):g}{described}"
