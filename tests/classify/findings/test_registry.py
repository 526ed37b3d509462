import re

import pytest

from tlx.classify.findings.registry import kinds


@pytest.mark.parametrize("name", kinds())
def test_a_kind_says_what_it_looks_for_under_a_code_that_is_its_own(name):
    kind = kinds()[name]
    assert re.fullmatch(r"TLX\d{3}", kind.code)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)
    assert kind.help
    assert not kind.help.endswith(".")
    assert [other.code for other in kinds().values()].count(kind.code) == 1
