from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.values import FinishReason, Quality, SourceVersion
from services.cache.entry import DamagedRecordError, Entry, decode, encode
from tests.unit.cache.parts import vector

names = st.text(min_size=1, max_size=12)
sources = st.builds(SourceVersion, names, names, st.integers(0, 2**62))
entries = st.builds(
    Entry,
    entry_id=names,
    tenant_id=names,
    key=names,
    context=names,
    question=names,
    collection=names,
    created_at_s=st.floats(0, 4e9),
    expires_at_s=st.floats(0, 4e9),
    finish_reason=st.sampled_from(FinishReason),
    quality=st.sampled_from(Quality),
    degraded=st.booleans(),
    model=names,
    prompt=names,
    sources=st.lists(sources, max_size=3).map(tuple),
    store_id=names,
    tags=st.lists(names, max_size=3).map(tuple),
    embedding_fingerprint=names,
    vector=st.sampled_from([b"", vector(1.0)]),
    pages=st.lists(st.binary(max_size=30), max_size=3).map(tuple),
    stale_at_s=st.floats(0, 4e9) | st.just(float("inf")),
    shared_from_s=st.floats(0, 4e9),
    made_in_s=st.floats(0, 4e3),
    input_tokens=st.integers(0, 2**40),
    output_tokens=st.integers(0, 2**40),
    index_version=st.integers(0, 2**62),
    refusal=st.sampled_from(["", "NOTHING_FOUND"]),
)


@given(entries)
def test_a_record_gives_back_what_was_stored(entry: Entry) -> None:
    assert decode(encode(entry)) == entry


@given(entries, st.data())
def test_any_changed_byte_is_noticed(entry: Entry, data: st.DataObject) -> None:
    record = bytearray(encode(entry))
    place = data.draw(st.integers(0, len(record) - 1))
    record[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DamagedRecordError):
        decode(bytes(record))


@given(entries, st.data())
def test_a_record_that_was_cut_is_noticed(entry: Entry, data: st.DataObject) -> None:
    record = encode(entry)
    with pytest.raises(DamagedRecordError):
        decode(record[: data.draw(st.integers(0, len(record) - 1))])


@given(st.binary())
def test_bytes_that_are_no_record_are_noticed(record: bytes) -> None:
    with pytest.raises(DamagedRecordError):
        decode(record)


@given(entries, entries)
def test_a_better_answer_has_a_larger_rank(one: Entry, other: Entry) -> None:
    better = (one.quality, not one.degraded) > (other.quality, not other.degraded)
    assert (one.rank > other.rank) is better


@given(entries)
def test_the_rank_stands_where_the_scripts_look_for_it(entry: Entry) -> None:
    record = encode(entry)
    name = entry.entry_id.encode()
    assert (record[4], record[7 : 7 + len(name)]) == (entry.rank, name)
