"""The command line as a user has it: real processes, real documents, real exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

_READY_WITHIN_S = 60
_UPLOADS = {"collection": "uploads"}
_FACTS = """# Ports

The lighthouse at Cape Wend was built in 1871 by Ada Morris.

# Ships

The ferry Albatross carries at most 240 passengers.
"""


@dataclass(frozen=True)
class Hasten:
    """The command, with a home of its own."""

    env: dict[str, str]

    def run(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cli.main", *arguments]
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == status, done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)


@pytest.fixture(scope="module")
def hasten(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Hasten:
    home = tmp_path_factory.mktemp("home")
    own = {"HASTEN_HOME": str(home), "HASTEN_MODEL_DIR": str(model_dir.absolute())}
    return Hasten({**os.environ, **own})


def start(hasten: Hasten) -> "subprocess.Popen[str]":
    """Start a mesh, and return its process once it says that it is ready."""
    command = [sys.executable, "-m", "cli.main", "up"]
    up = subprocess.Popen(command, env=hasten.env, stdout=subprocess.PIPE, text=True)
    assert up.stdout is not None
    said = []
    for line in up.stdout:
        said.append(line)
        if line.startswith("ready:"):
            return up
    pytest.fail(f"the mesh did not start: {''.join(said)}")


def children_of(hasten: Hasten) -> list[int]:
    """Return every process that was started with this home."""
    mark = f"HASTEN_HOME={hasten.env['HASTEN_HOME']}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def wait_until_gone(hasten: Hasten, within_s: float) -> None:
    end = time.monotonic() + within_s
    while children_of(hasten) and time.monotonic() < end:
        time.sleep(0.1)
    assert children_of(hasten) == []


@pytest.fixture(scope="module")
def mesh(hasten: Hasten, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hasten]:
    """The command beside a running mesh that knows a few facts."""
    up = start(hasten)
    assert up.stdout is not None
    folder = tmp_path_factory.mktemp("documents")
    (folder / "facts.md").write_text(_FACTS)
    (folder / "picture.md").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    try:
        stored = hasten.json("ingest", str(folder))
        assert stored["document_count"] == 1
        assert [Path(each["path"]).name for each in stored["unreadable"]] == ["picture.md"]
        yield hasten
    finally:
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 0
        up.stdout.close()
        wait_until_gone(hasten, 10)


def test_a_question_is_answered_with_its_sources_and_its_account(mesh: Hasten) -> None:
    answer = mesh.json("ask", "Who built the lighthouse at Cape Wend?")
    assert "Ada Morris" in answer["answer"]
    assert answer["citations"]
    assert answer["finish_reason"] == "end_turn"
    assert len(answer["trace_id"]) == 32
    latency = answer["latency"]
    assert 0 < latency["first_text_ms"] <= latency["total_ms"]
    assert {"cache.exact", "embedding", "retrieval", "generation"} <= {
        hop["hop"] for hop in latency["hops"]
    }


def test_the_same_question_again_is_an_exact_hit(mesh: Hasten) -> None:
    question = "How many passengers does the ferry Albatross carry?"
    first = mesh.json("ask", question)
    time.sleep(0.5)
    second = mesh.json("ask", question)
    assert second["cache"]["layer"] == "exact"
    assert second["answer"] == first["answer"]


def test_a_trace_shows_every_hop_of_an_answer(mesh: Hasten) -> None:
    trace_id = mesh.json("ask", "Who built the lighthouse?", "--cache", "bypass")["trace_id"]
    time.sleep(1)
    spans = mesh.json("trace", trace_id)["spans"]
    assert [span["name"] for span in spans if not span["parent_span_id"]] == [
        "hasten.answer.v1.AnswerService/StreamAnswer"
    ]
    assert {"orchestrator", "embedding", "retrieval", "generation"} <= {
        span["service"] for span in spans
    }
    assert "critical path" in mesh.run("trace", trace_id[:12]).stdout


def test_a_job_is_submitted_followed_shown_and_listed(mesh: Hasten) -> None:
    given = json.dumps({"question": "Who built the lighthouse at Cape Wend?"})
    followed = mesh.run("jobs", "submit", "answer", given, "--key", "one", "--wait", "--json")
    events = [json.loads(line) for line in followed.stdout.splitlines()]
    assert [each["sequence"] for each in events] == list(range(1, len(events) + 1))
    done = events[-1]["job"]
    assert (done["state"], "Ada Morris" in done["result"]["answer"]) == ("succeeded", True)
    assert mesh.json("jobs", "submit", "answer", given, "--key", "one")["job_id"] == done["job_id"]
    assert mesh.json("jobs", "show", done["job_id"]) == done
    assert mesh.json("jobs", "cancel", done["job_id"])["state"] == "succeeded"
    (listed,) = mesh.json("jobs", "list", "--state", "succeeded", "--kind", "answer")["jobs"]
    assert listed["job_id"] == done["job_id"]
    assert "100 %" in mesh.run("jobs", "watch", done["job_id"]).stdout


def test_a_document_is_uploaded_looked_at_and_deleted_over_http(mesh: Hasten) -> None:
    place = json.loads((Path(mesh.env["HASTEN_HOME"]) / "mesh.json").read_text())
    with httpx.Client(base_url=place["addresses"]["edge"], trust_env=False, timeout=60) as http:
        accepted = http.post(
            "/v1/documents",
            files={
                "files": ("harbour/pier.md", b"# Pier\n\nThe pier is 90 m long.", "text/markdown")
            },
            data={"collection": "uploads"},
        )
        assert accepted.status_code == 202, accepted.text
        job = http.get(f"{accepted.headers['location']}?wait=60").json()
        assert job["result"]["document_count"] == 1, job
        path = "/v1/documents/harbour/pier.md?collection=uploads"
        assert "90 m" in http.get(path).json()["text"]
        answer = http.post("/v1/answers", json={"question": "How long is the pier?"} | _UPLOADS)
        assert "90 m" in answer.json()["answer"]
        assert http.delete(path).status_code == 204
        assert http.get(path).status_code == 404


def test_answers_are_made_beforehand_carried_away_and_brought_back(
    mesh: Hasten, tmp_path: Path
) -> None:
    questions, answers = tmp_path / "questions.txt", tmp_path / "answers.jsonl"
    questions.write_text("What was built by Ada Morris?\nWhat is carried by the Albatross?\n")
    warmed = mesh.json("cache", "warm", str(questions))
    assert warmed["counts"]["failed"] == warmed["counts"]["not stored"] == 0
    count = mesh.json("cache", "export", str(answers))["exported"]
    assert count >= 1
    back = mesh.json("cache", "import", str(answers))
    # An answer of another test may be of documents that have gone since: it is no good any more.
    assert {each["reason"] for each in back["refused"]} <= {"DOCUMENT_CHANGED"}
    assert (back["stored"] + len(back["refused"]), back["damaged"]) == (count, [])
    assert back["stored"] >= 2
    # The index follows the store, and answers of tests before this one may still come in.
    end_s = time.monotonic() + 30
    while mesh.json("cache", "stats")["replicas"][0]["semantic_entry_count"] < back["stored"]:
        assert time.monotonic() < end_s
    assert "entries" in mesh.run("cache", "stats").stdout


def test_why_a_stored_answer_serves_or_does_not_is_explained(mesh: Hasten, tmp_path: Path) -> None:
    questions = tmp_path / "questions.txt"
    questions.write_text("Who built the lighthouse?\n")
    mesh.json("cache", "warm", str(questions))
    told = mesh.json("cache", "explain", "who built the lighthouse")
    nearest = told["candidates"][0]
    assert (nearest["question"], nearest["reason"]) == ("who built the lighthouse?", "OK")
    other = mesh.json("cache", "explain", "Who did not build the lighthouse?")["candidates"][0]
    assert other["question"] == "who built the lighthouse?"
    assert other["reason"] in {"FACTS_DIFFER", "BELOW_TARGET"}
    assert "who built the lighthouse?" in mesh.run("cache", "explain", "Who built it?").stdout


def test_traffic_is_replayed_against_the_cache_alone(mesh: Hasten, tmp_path: Path) -> None:
    traffic = tmp_path / "traffic.jsonl"
    row = {"question": "Who built the lighthouse?", "group": 1}
    traffic.write_text(3 * (json.dumps(row) + "\n"))
    told = mesh.json("cache", "replay", str(traffic), "--cache-only", "--output-price", "40")
    assert (told["questions"], told["made"], told["wrong_hits"]) == (3, 1, 0)
    assert told["saved_usd"] == pytest.approx(2 * (1_500 * 3 + 250 * 40) / 1e6)
    shown = mesh.run("cache", "replay", str(traffic), "--cache-only").stdout
    assert "calls saved  66.7%" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["cache", "warm", "/nowhere"], "/nowhere: No such file"),
        (["cache", "import", "/nowhere"], "/nowhere: No such file"),
        (["cache", "import", __file__], ":1: is no file that `hasten cache export` wrote"),
        (["cache", "export", "/nowhere/answers"], "/nowhere/.answers.part: No such file"),
        (["cache", "stats", "--tenant", "a b"], "tenant_id: must be 1 to 64 characters"),
        (["cache", "replay", __file__, "--answer-time", "soon", "--cache-only"], "--answer-time"),
        (["cache", "replay", __file__, "--at-once", "2", "--cache-only"], "--at-once: --cache-"),
        (["cache", "replay", __file__, "--min-similarity", "0"], "--min-similarity: is for --cac"),
        (["ask", ""], "question: must have 1 to 8000 characters"),
        (["ask", "Why?", "--collection", "nowhere"], "COLLECTION_NOT_FOUND"),
        (["ask", "Why?", "--policy", "eternal"], "POLICY_NOT_FOUND"),
        (["ask", "Why?", "--budget", "soon"], "--budget: 'soon' is no duration"),
        (["ask", "Why?", "--budget", "0"], "BUDGET_EXHAUSTED"),
        (["ask", "Why?", "--cache", "maybe"], "--cache: 'maybe' is not one of"),
        (["ask", "Why?", "--filter", "colour"], "--filter: 'colour' is not of the form key=value"),
        (["ask", "Why?", "--tenant", "a b"], "tenant_id: must be 1 to 64 characters"),
        (["trace", "ffff"], "TRACE_NOT_FOUND"),
        (["jobs", "submit", "dance", "{}"], "kind: must be one of analyze, answer"),
        (["jobs", "submit", "answer", "{}"], "input.question: Field required"),
        (["jobs", "submit", "answer", "@/nowhere"], "/nowhere: No such file"),
        (["jobs", "show", "job-0"], "JOB_NOT_FOUND"),
        (["jobs", "list", "--state", "odd"], "--state: 'odd' is not one of"),
        (["eval", "retrieval", "/nowhere.json"], "/nowhere.json: No such file"),
    ],
)
def test_a_slip_ends_with_one_line_that_says_what_to_mend(
    mesh: Hasten, arguments: list[str], said: str
) -> None:
    done = mesh.run(*arguments, status=1)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_mesh_the_command_says_how_to_start_one(tmp_path: Path) -> None:
    alone = Hasten({**os.environ, "HASTEN_HOME": str(tmp_path)})
    assert "start one with `hasten up`" in alone.run("ask", "Why?", status=1).stderr


def test_a_setting_that_does_not_fit_is_named(tmp_path: Path) -> None:
    checked = Hasten({**os.environ, "CACHE_MIN_SIMILARITY": "2", "EDGE_ADRESS": "x"})
    said = checked.run("config", "check", status=1).stdout
    assert "error: cache: CACHE_MIN_SIMILARITY='2'" in said
    assert "warning: edge: EDGE_ADRESS is no setting" in said


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_no_process_outlives_a_supervisor_that_was_killed(tmp_path: Path, model_dir: Path) -> None:
    own = {"HASTEN_HOME": str(tmp_path), "HASTEN_MODEL_DIR": str(model_dir.absolute())}
    hasten = Hasten({**os.environ, **own})
    with start(hasten) as up:
        assert len(children_of(hasten)) > 5
        up.kill()
    wait_until_gone(hasten, 20)
