import base64
import hashlib
import json
import re

import pytest

from tlx.report.page import embedded_json, render


@pytest.mark.parametrize("text", ["</script><script>", "<!--", "\u2028\u2029", "\udce9", "&amp;"])
def test_json_in_the_page_is_what_it_was_and_ends_no_element(text):
    written = embedded_json({text: [text]})
    assert json.loads(written) == {text: [text]}
    assert written.isascii()
    assert not set("<>&") & set(written)


def test_the_policy_names_the_very_style_and_script_of_the_page(page_of_studio):
    text = page_of_studio.decode()
    policy = re.search(r'Security-Policy" content="([^"]*)"', text)[1].replace("&#39;", "'")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    for kind, found in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    assert len(script) < 40_000


def test_the_page_has_nothing_that_the_policy_refuses(page_of_studio):
    text = page_of_studio.decode()
    body = re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)
    assert not re.findall(r"<[^>]*\s(?:style|on[a-z]+)\s*=", body)
    assert not re.findall(r"(?:https?:)?//[a-z]", body)


def test_what_is_missing_is_an_error_of_the_program():
    with pytest.raises(Exception, match="undefined"):
        render({}, {})
