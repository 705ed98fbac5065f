"""Partitions are shared out balanced, by number, and with as few moves as that allows; no broker is needed."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.runtime.bus.kafka_assignor import CoPartitionedAssignor, first_step, share_out
from services.runtime.bus.port import TopicPartition

Owned = dict[str, list[TopicPartition]]

names = st.text("abcdefgh", min_size=1, max_size=3)
sizes = st.dictionaries(st.sampled_from(["t", "u", "v", "w"]), st.integers(1, 9), min_size=1)
crews = st.sets(names, min_size=1, max_size=6)


def places(partitions: dict[str, int]) -> set[TopicPartition]:
    return {TopicPartition(topic, number) for topic, count in partitions.items() for number in range(count)}


def held(shares: dict[TopicPartition, str]) -> Owned:
    owned: Owned = {}
    for place, member in shares.items():
        owned.setdefault(member, []).append(place)
    return owned


def shared(crew: set[str], partitions: dict[str, int], owned: Owned) -> dict[TopicPartition, str]:
    return share_out({member: tuple(partitions) for member in crew}, partitions, owned)


@st.composite
def scattered(draw: st.DrawFn) -> tuple[set[str], dict[str, int], Owned]:
    """A group in any state whatever: partitions with nobody, with members that left, or claimed twice."""
    crew, partitions = draw(crews), draw(sizes)
    owned: Owned = {}
    for place in sorted(places(partitions)):
        for member in draw(st.lists(st.sampled_from(sorted(crew)), max_size=2, unique=True)):
            owned.setdefault(member, []).append(place)
    return crew, partitions, owned


@given(scattered())
def test_every_partition_goes_to_one_living_member(state: tuple[set[str], dict[str, int], Owned]) -> None:
    crew, partitions, owned = state
    shares = shared(crew, partitions, owned)
    assert shares.keys() == places(partitions)
    assert set(shares.values()) <= crew


@given(scattered())
def test_members_have_equally_many_numbers_of_each_size_or_one_more(
    state: tuple[set[str], dict[str, int], Owned],
) -> None:
    crew, partitions, owned = state
    shares = shared(crew, partitions, owned)
    for topic, count in partitions.items():
        counts = Counter(shares[TopicPartition(topic, number)] for number in range(count))
        assert max(counts.values()) - min(counts[member] for member in crew) <= 1


@given(scattered())
def test_one_number_of_equally_large_topics_belongs_to_one_member(
    state: tuple[set[str], dict[str, int], Owned],
) -> None:
    crew, partitions, owned = state
    shares = shared(crew, partitions, owned)
    for topic, count in partitions.items():
        for other in (name for name, size in partitions.items() if size == count):
            for number in range(count):
                assert shares[TopicPartition(topic, number)] == shares[TopicPartition(other, number)]


@given(crews, sizes)
def test_a_group_that_does_not_change_moves_nothing(crew: set[str], partitions: dict[str, int]) -> None:
    shares = shared(crew, partitions, {})
    assert shared(crew, partitions, held(shares)) == shares


@given(crews, names, st.integers(1, 24))
def test_a_newcomer_takes_its_share_and_nothing_moves_between_the_others(
    crew: set[str], newcomer: str, count: int
) -> None:
    crew = crew - {newcomer} or {"z"}
    before = shared(crew, {"t": count}, {})
    after = shared(crew | {newcomer}, {"t": count}, held(before))
    moved = [place for place in before if after[place] != before[place]]
    assert {after[place] for place in moved} <= {newcomer}
    assert len(moved) == count // (len(crew) + 1)


@given(st.sets(names, min_size=2, max_size=6), st.integers(1, 24), st.data())
def test_of_a_leaver_only_its_own_partitions_move(crew: set[str], count: int, data: st.DataObject) -> None:
    leaver = data.draw(st.sampled_from(sorted(crew)))
    before = shared(crew, {"t": count}, {})
    left = {member: them for member, them in held(before).items() if member != leaver}
    after = shared(crew - {leaver}, {"t": count}, left)
    assert all(after[place] == before[place] for place in before if before[place] != leaver)


@given(scattered())
def test_nothing_is_given_that_somebody_else_still_owns(state: tuple[set[str], dict[str, int], Owned]) -> None:
    crew, partitions, owned = state
    given_now = first_step(shared(crew, partitions, owned), owned)
    for place, member in given_now.items():
        assert not [other for other, them in owned.items() if other != member and place in them]


@given(scattered())
def test_two_steps_complete_every_sharing_out(state: tuple[set[str], dict[str, int], Owned]) -> None:
    crew, partitions, owned = state
    first = held(first_step(shared(crew, partitions, owned), owned))
    # Members keep only what the first step left them, and say so.
    second = first_step(shared(crew, partitions, first), first)
    assert second.keys() == places(partitions)


def test_members_that_read_different_topics_share_only_what_both_read() -> None:
    shares = share_out({"a": ("t", "u"), "b": ("t",)}, {"t": 2, "u": 2}, {})
    assert {shares[TopicPartition("u", number)] for number in range(2)} == {"a"}
    assert {shares[TopicPartition("t", number)] for number in range(2)} == {"a", "b"}


def test_a_topic_that_nobody_knows_the_size_of_is_left_out() -> None:
    assert share_out({"a": ("t", "new")}, {"t": 1}, {}) == {TopicPartition("t", 0): "a"}


def member(instance: str, assignor: CoPartitionedAssignor, *topics: str) -> Any:
    return SimpleNamespace(member_id=f"{instance}-id", group_instance_id=instance, metadata=assignor.metadata(topics))


def test_what_members_say_of_themselves_reaches_the_leader() -> None:
    sizes = {"t": 2, "u": 2}
    owner = CoPartitionedAssignor(lambda: [("t", 0), ("t", 1), ("u", 0), ("u", 1)], sizes)
    newcomer = CoPartitionedAssignor(lambda: [], sizes)
    cluster = SimpleNamespace(partitions_for_topic=lambda _: None)
    members = [member("b", owner, "t", "u"), member("a", newcomer, "t", "u")]
    given_now = newcomer.assign(cluster, members)
    assert given_now["b-id"].assigned_partitions == [("t", [0]), ("u", [0])]
    assert given_now["a-id"].assigned_partitions == []
