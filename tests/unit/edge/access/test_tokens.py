"""Tokens of an identity provider: which are taken, and what if its keys cannot be had."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from blockbuster import BlockBuster
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.datastructures import Headers

from services.edge.access.gate import Gate
from services.edge.access.tokens import Claims, KeySet, Tokens
from services.edge.problem import ProblemError
from tests.support.blocking import blocking

CLAIMS = Claims("https://id.example.com", "hasten")
SAID = {
    "iss": CLAIMS.issuer,
    "aud": CLAIMS.audience,
    "sub": "anna",
    "tenant": "acme",
    "scope": "answers jobs openid",
    "document_scopes": ["public"],
}


class Provider:
    """Has keys, and publishes them in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys: dict[str, ec.EllipticCurvePrivateKey] = {}

    def add(self, key_id: str) -> None:
        self.keys[key_id] = ec.generate_private_key(ec.SECP256R1())
        self.publish()

    def publish(self) -> None:
        algorithm = jwt.algorithms.ECAlgorithm
        rows = [
            {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": key_id, "use": "sig"}
            for key_id, key in self.keys.items()
        ]
        self.path.write_text(json.dumps({"keys": rows}))

    def token(self, key_id: str = "one", **changed: Any) -> str:
        said = SAID | {"exp": time.time() + 600} | changed
        said = {name: value for name, value in said.items() if value is not None}
        key = self.keys.get(key_id) or ec.generate_private_key(ec.SECP256R1())
        return jwt.encode(said, key, "ES256", headers={"kid": key_id})


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def provider(tmp_path: Path) -> Provider:
    made = Provider(tmp_path / "jwks.json")
    made.add("one")
    return made


@pytest.fixture
def gate(provider: Provider, clock: Clock, no_blocking: BlockBuster) -> Gate:
    with blocking(no_blocking):
        return Gate(tokens=Tokens(KeySet(str(provider.path), clock), CLAIMS))


async def refusal(gate: Gate, token: str) -> int:
    with pytest.raises(ProblemError) as caught:
        await gate.caller_of(Headers({"Authorization": f"Bearer {token}"}))
    return caught.value.problem.status


async def test_a_token_says_who_its_owner_is(gate: Gate, provider: Provider) -> None:
    headers = Headers({"Authorization": f"Bearer {provider.token()}"})
    caller = await gate.caller_of(headers)
    assert (caller.tenant_id, caller.name) == ("acme", "subject anna")
    assert caller.rights == {"answers", "jobs"}  # what is no right of ours is left out
    assert caller.document_scopes == {"public"}


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": 1.0},
        {"exp": None},
        {"nbf": time.time() + 3600},
        {"aud": "another"},
        {"iss": "https://another.example.com"},
        {"sub": None},
        {"tenant": None},
        {"tenant": ["acme"]},
        {"tenant": "acme/key 1"},
    ],
)
async def test_a_token_that_says_something_else_is_refused(
    gate: Gate, provider: Provider, changed: dict[str, Any]
) -> None:
    assert await refusal(gate, provider.token(**changed)) == 401


async def test_a_token_without_a_signature_or_with_a_shared_secret_is_refused(
    gate: Gate, provider: Provider
) -> None:
    said = SAID | {"exp": time.time() + 600}
    for token in (
        jwt.encode(said, None, "none", headers={"kid": "one"}),
        jwt.encode(said, "a secret that two must know, 32 long", "HS256", headers={"kid": "one"}),
        provider.token()[:-8] + "AAAAAAAA",
        provider.token("two"),  # signed by nobody that is known
    ):
        assert await refusal(gate, token) == 401


async def test_a_new_key_is_learned_and_made_up_ones_ask_the_provider_rarely(
    gate: Gate, provider: Provider, clock: Clock
) -> None:
    assert await refusal(gate, provider.token("two")) == 401
    await asyncio.to_thread(provider.add, "two")
    assert await refusal(gate, provider.token("two")) == 401  # was asked a moment ago
    clock.now_s += 11
    headers = Headers({"Authorization": f"Bearer {provider.token('two')}"})
    assert (await gate.caller_of(headers)).tenant_id == "acme"


async def test_while_the_provider_is_gone_known_keys_go_on(
    gate: Gate, provider: Provider, clock: Clock
) -> None:
    headers = Headers({"Authorization": f"Bearer {provider.token()}"})
    await gate.caller_of(headers)
    await asyncio.to_thread(provider.path.unlink)
    clock.now_s += 3600
    assert (await gate.caller_of(headers)).tenant_id == "acme"
    assert await refusal(gate, provider.token("two")) == 503
    await asyncio.to_thread(provider.add, "two")
    clock.now_s += 11
    headers = Headers({"Authorization": f"Bearer {provider.token('two')}"})
    assert (await gate.caller_of(headers)).tenant_id == "acme"


async def test_a_provider_that_hangs_holds_up_nobody_whose_key_is_known(
    gate: Gate, provider: Provider, clock: Clock
) -> None:
    headers = Headers({"Authorization": f"Bearer {provider.token()}"})
    await gate.caller_of(headers)
    await asyncio.to_thread(provider.path.unlink)
    await asyncio.to_thread(os.mkfifo, provider.path)  # whoever reads it waits for a writer
    clock.now_s += 3600
    try:
        async with asyncio.timeout(5):
            assert (await gate.caller_of(headers)).tenant_id == "acme"
    finally:
        await asyncio.to_thread(provider.publish)
    assert await refusal(gate, provider.token("two")) == 401  # waits for what was published


@pytest.mark.parametrize("text", ["[]", "{}", '{"keys": 1}', "<html>"])
async def test_an_answer_that_is_no_set_of_keys_changes_nothing(
    gate: Gate, provider: Provider, clock: Clock, text: str
) -> None:
    headers = Headers({"Authorization": f"Bearer {provider.token()}"})
    await gate.caller_of(headers)
    await asyncio.to_thread(provider.path.write_text, text)
    clock.now_s += 3600
    assert (await gate.caller_of(headers)).tenant_id == "acme"
    assert await refusal(gate, provider.token("two")) == 503


async def test_a_key_of_a_kind_that_is_not_known_spoils_no_other(
    gate: Gate, provider: Provider
) -> None:
    rows = json.loads(await asyncio.to_thread(provider.path.read_text))["keys"]
    odd = [{"kty": "new", "kid": "odd"}, {"kty": "EC", "kid": "broken"}, "no key"]
    await asyncio.to_thread(provider.path.write_text, json.dumps({"keys": [*odd, *rows]}))
    headers = Headers({"Authorization": f"Bearer {provider.token()}"})
    assert (await gate.caller_of(headers)).tenant_id == "acme"
