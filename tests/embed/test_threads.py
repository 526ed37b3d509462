"""How many threads a process may use."""

from __future__ import annotations

import os

from tlx.embed.threads import limit_threads, limited_threads, thread_count


def test_all_processors_unless_there_is_a_limit():
    assert limited_threads() is None
    assert thread_count() == os.cpu_count()
    limit_threads(3)
    try:
        assert (thread_count(), limited_threads()) == (3, 3)
    finally:
        limit_threads(None)
