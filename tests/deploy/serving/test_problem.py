"""A refusal is an object of RFC 9457."""

from __future__ import annotations

import json

from tlx.deploy.serving.problem import ProblemError, busy


def test_a_problem_says_its_status_and_what_is_wrong():
    assert json.loads(ProblemError(404, "no such thing").body) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "no such thing",
    }


def test_a_busy_server_says_when_to_come_again():
    assert (busy().status, busy().headers) == (503, {"Retry-After": "1"})
