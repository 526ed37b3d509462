"""Handing work out: again where a worker fails, and never for ever."""

from __future__ import annotations

import dataclasses
import os

import cluster_helpers
import pytest
from cluster_helpers import Here, fail, twice

from tlx.embed.cluster import Cluster, hand_out, map_cluster
from tlx.errors import DataError, FormatError, TlxError, UnknownNameError


@pytest.fixture
def hand(monkeypatch):
    """Return ``hand(pool, n, ...)``: what is done of n items whose work is to double them."""

    def run(pool, n, work=twice, shared=0, **options):
        pool.begin(work, shared)
        return list(hand_out(pool, range(n), **options))

    return run


def values(done):
    return {one.index: one.answer and one.answer.value for one in done}


# What comes back


@pytest.mark.parametrize("slots", [1, 3, 100])
def test_each_item_is_done_once(hand, slots):
    done = hand(Here(slots), 10)
    assert len(done) == 10
    assert values(done) == {k: 2 * k for k in range(10)}
    assert {one.answer.worker.rpartition(":")[2] for one in done} == {str(os.getpid())}


def test_nothing_to_do(hand):
    assert hand(Here(), 0) == []


def test_what_a_lost_worker_had_is_given_out_again(hand):
    pool = Here(2, lambda number, answer: "killed" if number in (1, 4) else answer)
    assert values(hand(pool, 5)) == {k: 2 * k for k in range(5)}


def test_an_error_that_is_nobodys_fault_is_tried_again(hand):
    def spoil(number, answer):
        return answer._replace(error="OSError: gone") if number == 0 else answer

    assert values(hand(Here(2, spoil), 3)) == {0: 0, 1: 2, 2: 4}


def test_what_fails_three_times_is_told(hand):
    pool = Here(2, lambda number, answer: "killed" if answer.value == 4 else answer)
    done = hand(pool, 4)
    assert values(done) == {0: 0, 1: 2, 2: None, 3: 6}
    assert [one.reason for one in done if one.reason] == ["tried three times: killed"]


def test_damage_is_tried_again(hand):
    seen = []

    def accept(index, answer):
        seen.append(index)
        if seen == [0]:
            raise FormatError("it is bent.")

    assert values(hand(Here(1), 2, accept=accept)) == {0: 0, 1: 2}
    assert seen == [0, 1, 0]


def test_damage_names_the_worker(hand):
    def accept(index, answer):
        if index == 1:
            raise FormatError("it is bent.")

    (told,) = [one.reason for one in hand(Here(1), 3, accept=accept) if one.reason]
    assert told.startswith("tried three times: what ")
    assert told.endswith(f":{os.getpid()} returned is damaged: it is bent.")


def test_what_hangs_is_dropped_and_given_out_again(hand):
    pool = Here(1, lambda number, answer: None if number == 1 else answer)
    assert values(hand(pool, 4, deadline=0.05)) == {k: 2 * k for k in range(4)}
    assert pool.dropped == [1]


def test_what_always_hangs_is_told(hand):
    pool = Here(1, lambda number, answer: None if answer.value == 2 else answer)
    done = hand(pool, 3, deadline=0.05)
    assert values(done) == {0: 0, 1: None, 2: 4}
    assert [one.reason for one in done if one.reason] == ["tried three times: no answer within 0 s"]


def test_an_error_of_the_users_making_ends_it(hand):
    with pytest.raises(DataError, match="no such network"):
        hand(Here(), 5, fail, DataError("no such network."))


def test_workers_that_are_all_lost_end_it(hand):
    with pytest.raises(TlxError, match=r"no worker is of use: 12 pieces.*the last: killed"):
        hand(Here(2, lambda number, answer: "killed"), 100)


# Who


@pytest.mark.parametrize("address", ["spark://x:1", "", "processes", "dusk://x", "4"])
def test_an_unknown_cluster_names_those_there_are(address):
    known = {"processes": DataError}
    with pytest.raises(known.get(address, UnknownNameError)) as caught:
        Cluster(address)
    assert "processes:" in caught.value.remedy
    assert repr(address) in caught.value.cause or address == "processes"


def test_a_cluster_is_made_of_its_address():
    assert Cluster.of("processes:2") == Cluster.of(Cluster("processes:2"))
    assert Cluster.of(None) is None
    assert dataclasses.replace(Cluster("processes:2"), deadline=3.0).deadline == 3.0


def test_map_gives_each_place_and_value(monkeypatch):
    pool = Here()
    monkeypatch.setattr("tlx.embed.cluster.find_cluster", lambda address: lambda: pool)
    found = map_cluster("processes:2", twice, 1, [5, 6])
    assert sorted(found) == [(0, 11), (1, 13)]
    assert pool.closed


def test_map_raises_where_an_item_always_fails(monkeypatch):
    pool = Here(spoil=lambda number, answer: "killed" if answer.value == 4 else answer)
    monkeypatch.setattr("tlx.embed.cluster.find_cluster", lambda address: lambda: pool)
    with pytest.raises(TlxError, match=r"could not do its work \(tried three times: killed\)"):
        list(map_cluster("processes:2", twice, 0, [1, 2]))
    assert pool.closed


def test_processes_that_die_lose_nothing(tmp_path):
    for number in (1, 4):
        (tmp_path / str(number)).touch()
    found = map_cluster("processes:2", cluster_helpers.kill, str(tmp_path), range(6))
    assert sorted(found) == [(k, k) for k in range(6)]
    assert not list(tmp_path.iterdir())
