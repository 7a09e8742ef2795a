from __future__ import annotations

import json

from services.jobs.kinds.classify import ClassifyInput
from services.jobs.kinds.inputs import keyed
from services.jobs.kinds.likeness import likeness
from tests.support.jobs import Asked, Staff, Told, attempt, saying
from tests.support.provider import Provider

LABELS = [
    {"name": "delivery", "description": "parcels and shipping"},
    {"name": "refund", "description": "getting money back"},
]


def sorted_by_word(asked: Asked) -> object:
    """What a good model says: a label for each row, by a word in it."""
    rows = []
    for title, text in asked.texts.items():
        label = "delivery" if "parcel" in text else "refund" if "money" in text else None
        rows.append({"row": int(title.removeprefix("row ")), "label": label})
    return {"rows": rows}


async def test_rows_get_their_labels_and_identical_ones_are_asked_once(
    writers: Staff, provider: Provider
) -> None:
    asked = saying(provider, sorted_by_word)
    rows = ["the parcel is late", {"id": "m", "text": "my money"}, "the parcel is late", "hm"]
    result, told = await attempt(writers.clients, "classify", rows=rows, labels=LABELS)
    assert told.items == {
        "0": {"label": "delivery"},
        "m": {"label": "refund"},
        "2": {"label": "delivery"},
        "3": {"label": None, "reason": "none of the labels fits"},
    }
    assert result["label_counts"] == {"delivery": 2, "refund": 1}
    assert (result["classified_count"], result["unclassified_count"]) == (3, 1)
    assert (result["quality"], result["model"]) == ("fast", "claude-haiku-5-5")
    assert result["usage"]["output_tokens"] > 0
    assert [len(each.texts) for each in asked] == [3]
    assert "refund: getting money back" in asked[0].system


async def test_what_came_back_wrong_is_asked_again_alone(
    writers: Staff, provider: Provider
) -> None:
    def says(asked: Asked) -> object:
        if len(asked.texts) == 1:
            return sorted_by_word(asked)
        right = {"row": 1.0, "label": "delivery"}
        wrong = [{"row": 2, "label": "invented"}, {"row": 9, "label": "refund"}, "row 3", right]
        return {"rows": [right, *wrong]}

    asked = saying(provider, says)
    rows = ["a parcel", "some money", "more money"]
    _, told = await attempt(writers.clients, "classify", rows=rows, labels=LABELS)
    assert {key: value["label"] for key, value in told.items.items()} == {
        "0": "delivery",
        "1": "refund",
        "2": "refund",
    }
    assert sorted(len(each.texts) for each in asked) == [1, 1, 3]


async def test_a_row_that_cannot_be_classified_is_an_item_with_its_reason(
    writers: Staff, provider: Provider
) -> None:
    replies = {
        "words": "no JSON",
        "depth": "[" * 100_000,
        "length": "word " * 500,
        "nothing": {"rows": []},
        "half": {"rows": [{"row": 1}]},
        "another": {"rows": [{"row": 7, "label": "refund"}]},
    }
    asked = saying(provider, lambda asked: replies[next(iter(asked.texts.values()))])
    given = {"rows": list(replies), "labels": LABELS, "batch_rows": 1}
    result, told = await attempt(writers.clients, "classify", **given)
    said = [each["reason"].partition(": ") for each in told.items.values()]
    assert {each[0] for each in said} == {"the model's answer cannot be used"}
    assert sorted(each[2] for each in said) == [
        "it is longer than it may be",
        "it is no JSON",
        "it is no JSON",
        "it is of other rows",
        "it is of other rows",
        "rows[0]: 'label' is a required property",
    ]
    assert (result["classified_count"], len(asked)) == (0, 2 * len(replies))


async def test_a_row_may_get_several_labels_and_is_told_between_fences(
    writers: Staff, provider: Provider
) -> None:
    reply = '```json\n{"rows": [{"row": 1, "labels": ["refund", "delivery", "refund"]}]}\n```'
    saying(provider, lambda _: reply)
    given = {"rows": ["x"], "labels": ["delivery", "refund"], "multiple": True}
    result, told = await attempt(writers.clients, "classify", **given)
    assert told.items["0"] == {"labels": ["refund", "delivery"]}
    assert result["label_counts"] == {"delivery": 1, "refund": 1}


async def test_without_a_model_rows_go_to_the_label_that_is_clearly_nearest(staff: Staff) -> None:
    rows = ["The parcel never arrived", "I want my money back", "xyzzy", "Das Paket fehlt"]
    result, told = await attempt(staff.clients, "classify", rows=rows, labels=LABELS)
    assert [told.items[key].get("label") for key in ("0", "1", "2")] == ["delivery", "refund", None]
    assert 0 < told.items["0"]["similarity"] <= 1
    assert "no model is configured" in told.items["2"]["reason"]
    assert result["quality"] == "extractive"


async def test_a_second_attempt_asks_nothing_of_rows_that_are_known_by_their_twins(
    writers: Staff, provider: Provider
) -> None:
    asked = saying(provider, sorted_by_word)
    told = Told({"0": {"label": "delivery"}})
    given = {"rows": ["a parcel", "some money", "a parcel"], "labels": LABELS}
    result, _ = await attempt(writers.clients, "classify", told, **given)
    assert result["label_counts"] == {"delivery": 2, "refund": 1}
    assert [list(each.texts.values()) for each in asked] == [["some money"]]
    assert told.steps[0] == (1, 3)


async def test_without_vectors_rows_are_compared_by_words_alone(writers: Staff) -> None:
    given = ClassifyInput.model_validate_json(
        json.dumps({"rows": ["my parcels", "money", "xyzzy"], "labels": LABELS, "multiple": True})
    )
    # The client of this one leads to a service that makes no vectors.
    for client in (None, writers.clients.embedding):
        texts = list(keyed(given.rows).values())
        labels = [f"{each.name}. {each.description}" for each in given.described()]
        found = [each async for each in likeness(texts, labels, client)]
        assert [(text, place) for text, place, _ in found] == [
            ("my parcels", 0),
            ("money", 1),
            ("xyzzy", None),
        ]
