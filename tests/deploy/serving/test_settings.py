"""What would be unsafe is refused before anything is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlx.deploy.serving.settings import Settings, check_settings
from tlx.errors import DataError


def settings(**more) -> Settings:
    return Settings(Path("runs/logreg-1"), **more)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org", ""])
def test_other_machines_need_a_token_or_an_express_yes(host):
    with pytest.raises(DataError, match="no token"):
        check_settings(settings(host=host))
    check_settings(settings(host=host, token="a secret".replace(" ", "-")))
    check_settings(settings(host=host, insecure=True))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]"])
def test_this_machine_needs_none(host):
    check_settings(settings(host=host))


@pytest.mark.parametrize("token", ["", "short", "with space", "grüße-grüße", "line\nend-line"])
def test_a_token_is_long_enough_and_can_be_sent(token):
    with pytest.raises(DataError, match="8 or more"):
        check_settings(settings(token=token))


@pytest.mark.parametrize("origin", ["*", "example.org", "https://", "https://a.org/", "null"])
def test_an_origin_is_scheme_and_host(origin):
    with pytest.raises(DataError, match="no origin"):
        check_settings(settings(origins=(origin,)))
    check_settings(settings(origins=("https://a.org", "http://localhost:3000")))
