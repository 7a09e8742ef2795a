"""hasten.js: its own tests, and the module against a real edge, in Node and in a browser."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from libs.clients import Connection
from libs.server.testing import serving
from libs.values import TextDelta
from services.edge.web.sse import Flow
from tests.support.browser import CHROMIUM, open_page
from tests.support.edges import COMPLETED, PLAN, Edge, Replica, Story, open_edge
from tests.support.faults.proxy import Proxy

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "clients/javascript/hasten.js"
WORDS = [f"word-{number} " for number in range(30)]
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not here")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not here")

READ = """
import { Answer, Hasten } from "%(module)s";
const answer = new Answer();
const run = new Hasten({ url: "%(url)s" }).ask("Why is the sky blue?");
const ids = [];
for await (const event of run) {
  if (event.event === "plan") console.log("begun");
  ids.push(event.id) && answer.add(event);
}
console.log(JSON.stringify({ text: answer.text, ids, end: answer.completed.finish_reason }));
"""
PAGE = """<!doctype html><title>reading</title><div id="answer"></div><script type="module">
import { Answer, Hasten, paint } from "/hasten.js";
const element = document.querySelector("#answer");
const answer = new Answer();
for await (const event of new Hasten().ask("Why?", { render: "block" })) {
  paint(element, answer.add(event), { mode: "block" });
}
const run = answer.plan.run_id;
const source = new EventSource(`/v1/runs/${run}/events`);
let text = "";
source.addEventListener("text", (event) => (text += JSON.parse(event.data).text));
source.addEventListener("completed", () => {
  source.close();
  document.title = text === answer.text ? "same" : `other: ${text}`;
});
</script>"""


@needs_node
def test_the_tests_of_the_module_pass() -> None:
    assert NODE is not None
    folder = MODULE.parent
    done = subprocess.run(
        [NODE, "--test", "."], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@asynccontextmanager
async def an_edge(story: Story) -> AsyncIterator[Edge]:
    replica = Replica(story)
    async with (
        serving(replica.register) as address,
        Connection.open(address) as connection,
        open_edge(connection, flow=Flow(0.001, 0.001)) as edge,
    ):
        yield edge


@needs_node
async def test_in_node_every_event_comes_once_over_a_line_that_breaks(tmp_path: Path) -> None:
    assert NODE is not None
    story = Story([PLAN])
    async with an_edge(story) as edge, Proxy(f"127.0.0.1:{edge.port}").serve() as proxy:
        filled = READ % {"module": MODULE.as_uri(), "url": f"http://{proxy.address}"}
        pipe = asyncio.subprocess.PIPE
        reading = await asyncio.create_subprocess_exec(
            NODE, "--input-type=module", stdin=pipe, stdout=pipe, stderr=pipe
        )
        assert reading.stdin is not None
        assert reading.stdout is not None
        reading.stdin.write(filled.encode())
        reading.stdin.close()
        assert await asyncio.wait_for(reading.stdout.readline(), 60) == b"begun\n"
        for number, word in enumerate(WORDS):
            await asyncio.sleep(0.03)
            story.tell(TextDelta(word))
            if number % 8 == 7:
                proxy.reset()
        story.tell(COMPLETED)
        out, err = await asyncio.wait_for(reading.communicate(), 60)
    assert err == b""
    told = json.loads(out)
    assert told["text"] == "".join(WORDS)
    assert len(told["ids"]) == len(set(told["ids"]))
    assert told["end"] == "end_turn"


@asynccontextmanager
async def a_site(edge: Edge) -> AsyncIterator[str]:
    """The page and the module, served where the edge is, as a console would."""
    app = edge.app
    assert isinstance(app, Starlette)
    module = await asyncio.to_thread(MODULE.read_bytes)

    async def page(_: object) -> Response:
        return HTMLResponse(PAGE)

    async def script(_: object) -> Response:
        return Response(module, media_type="text/javascript")

    app.router.routes += [Route("/page", page), Route("/hasten.js", script)]
    yield f"http://127.0.0.1:{edge.port}/page"


@needs_chromium
async def test_in_a_browser_a_page_paints_the_answer_and_an_event_source_reads_it_again(
    tmp_path: Path,
) -> None:
    texts = [TextDelta("Because of scattering.\n\n"), TextDelta("Blue light scatters most.")]
    story = Story([PLAN, *texts, COMPLETED])
    async with an_edge(story) as edge, a_site(edge) as url, open_page(url, tmp_path) as page:
        await page.until("document.title !== 'reading' && document.title !== ''")
        assert await page.evaluate("document.title") == "same"
        painted = await page.evaluate("document.querySelector('#answer').innerHTML")
    assert painted == (
        '<p class="hasten-text">Because of scattering.</p>'
        '<p class="hasten-text">Blue light scatters most.</p>'
    )
