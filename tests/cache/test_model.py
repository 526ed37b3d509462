"""A workspace that everything happens to, against a dictionary: nothing is lost, nothing wrong."""

import contextlib
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
from cache_helpers import SPEC, digest, digests, feature, manifest_of
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tlx.cache.files import host
from tlx.cache.shard import digest_bytes, read_digests
from tlx.cache.store import FeatureStore
from tlx.errors import DataError, FormatError
from tlx.upkeep import compact_cache, merge_workspace, prune_cache, verify_cache
from tlx.workspace import Workspace

NUMBERS = st.lists(st.integers(0, 30), max_size=8, unique=True)
SEEDS = st.integers(0, 2**32 - 1)


class CacheModel(RuleBasedStateMachine):
    """`committed` is what must be there; `maybe` is what may be there without having to."""

    def __init__(self):
        super().__init__()
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.folder = Path(tempfile.mkdtemp(dir=memory))
        self.place = Workspace(self.folder / "a")
        self.committed: set[int] = set()
        self.maybe: set[int] = set()
        self.names = 0

    def teardown(self):
        shutil.rmtree(self.folder)

    def store(self):
        return FeatureStore(self.place.cache, SPEC)

    @rule(numbers=NUMBERS, seal_seconds=st.sampled_from([0.0, 100.0]))
    def write(self, numbers, seal_seconds):
        with self.store().writer(seal_seconds) as writer:
            for number in numbers:
                writer.add(digest(number), feature(number))
        self.committed |= set(numbers)

    @rule(numbers=NUMBERS, sealed=st.integers(0, 8))
    def write_and_be_killed(self, numbers, sealed):
        """A killed process leaves its sealed shards, and perhaps half a temporary file."""
        writer = self.store().writer(100.0)
        for number in numbers[:sealed]:
            writer.add(digest(number), feature(number))
        writer.seal()
        for number in numbers[sealed:]:  # never sealed
            writer.add(digest(number), feature(number))
        self.committed |= set(numbers[:sealed])
        (self.store().folder / f".x.h5.{host()}.4194304.1.0123abcd.tmp").write_bytes(b"half")

    @rule()
    def compact(self):
        compact_cache(self.place)

    @rule(first=st.booleans())
    def compact_and_be_killed(self, first):
        """A killed compaction has written the large shard and removed some of the small ones."""
        store = self.store()
        shards = store.shards()
        if first:
            shards = shards[: len(shards) // 2]
        before = {shard: shard.read_bytes() for shard in shards}
        store.rewrite(shards)
        for shard in list(before)[1:]:
            shard.write_bytes(before[shard])

    @rule(numbers=NUMBERS)
    def prune(self, numbers):
        manifest_of(numbers).save(self.place.manifest_path("data"))
        prune_cache(self.place)
        self.committed &= set(numbers)
        self.maybe &= set(numbers)

    @rule(numbers=NUMBERS)
    def merge(self, numbers):
        other = Workspace(self.folder / f"other-{self.names}")
        self.names += 1
        with FeatureStore(other.cache, SPEC).writer() as writer:
            for number in numbers:
                writer.add(digest(number), feature(number))
        assert merge_workspace(self.place, other).problems == []
        self.committed |= set(numbers)

    @precondition(lambda self: self.committed)
    @rule(seed=SEEDS)
    def corrupt_a_byte(self, seed):
        rng = random.Random(seed)
        shards = self.store().shards()
        if not shards:
            return
        shard = rng.choice(shards)
        data = bytearray(shard.read_bytes())
        try:
            rows = set(digest_bytes(read_digests(shard)))
        except FormatError:  # damaged by an earlier step, and not noticed yet
            return
        data[rng.choice([rng.randrange(512), rng.randrange(len(data))])] ^= 1 << rng.randrange(8)
        shard.write_bytes(data)
        assert not verify_cache(self.place).ok
        lost = {n for n in self.committed if digest(n) in rows}
        self.committed -= lost  # until they are written again, or another shard has them
        self.maybe |= lost

    @invariant()
    def what_is_committed_is_there_and_right(self):
        store = self.store()
        numbers = sorted(self.committed)
        if numbers:
            found = store.gather(digests(numbers))
            assert np.array_equal(found, np.stack([feature(n) for n in numbers]))
        there = store.digests()
        assert there >= set(digests(numbers))
        for number in self.maybe:
            if digest(number) in there:
                with contextlib.suppress(DataError):  # its shard turned out to be the damaged one
                    assert np.array_equal(store.gather([digest(number)])[0], feature(number))
        assert there <= set(digests(self.committed | self.maybe))


TestCacheModel = CacheModel.TestCase
TestCacheModel.settings = settings(
    max_examples=6,
    stateful_step_count=10,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
