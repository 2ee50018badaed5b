"""A gateway's settings: what is wrong is said with the field's name."""

from pathlib import Path

import pytest
import yaml

from cxrflow.schema.errors import CxrflowError
from cxrflow.serving.gateway.later import Later, pause
from cxrflow.serving.gateway.settings import RetryConfig, read_gateway_config

DEPLOY = Path(__file__).parents[3] / "serving" / "deploy"
GOOD = {
    "peers": [{"ae_title": "MODALITY1"}],
    "destinations": [{"name": "archive", "ae_title": "PACS", "host": "pacs"}],
    "pseudonym_key": "key",
}


def read(tmp_path, **changes):
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in (GOOD | changes).items() if v is not None}))
    return read_gateway_config(path)


def test_the_least_that_must_be_said(tmp_path):
    config = read(tmp_path)
    assert (config.ae_title, config.port) == ("CXRFLOW", 11112)
    assert config.destinations[0].results == ("report", "key_image")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"peers": None}, r"gateway: peers is missing in .*: add `peers: \[\{ae_title: MODALITY1"),
        ({"destinations": None}, "gateway: destinations is missing"),
        ({"pseudonym_key": None}, "gateway: pseudonym_key is missing"),
        ({"prot": 104}, "gateway: prot: Unexpected keyword argument"),
        ({"port": 70000}, "gateway: port: .*65535"),
        ({"ae_title": "A TITLE OF 17 CHS"}, "gateway: ae_title: an AE title has 1 to 16"),
        ({"peers": [{"ae_title": ""}]}, r"gateway: peers.0.ae_title: an AE title"),
        ({"peers": [{"ae_title": "A", "address": "pacs"}]}, "gateway: peers.0.address: .*pacs"),
        ({"peers": [{"ae_title": "A"}, {"ae_title": "A"}]}, "peers: A stands there twice"),
        ({"destinations": [{"name": "a", "ae_title": "A"}]}, "gateway: destinations.0: give ae_t"),
        ({"destinations": [{"name": "a", "stow_url": "ftp://x"}]}, "stow_url begins with http"),
        ({"collect": {"quiet_seconds": 0}}, "gateway: collect.quiet_seconds: .*greater than 0"),
        ({"ask": {"point": "best"}}, "gateway: ask.point: .*youden"),
    ],
)
def test_a_mistake_is_named(tmp_path, changes, says):
    with pytest.raises(CxrflowError, match=says):
        read(tmp_path, **changes)


def test_pauses_double_up_to_the_longest():
    config = RetryConfig(pause=2, max_pause=10)
    for attempts, seconds in ((1, 2), (2, 4), (3, 8), (4, 10), (99999, 10)):
        assert 0.9 * seconds <= pause(attempts, config) <= 1.1 * seconds


def test_work_is_taken_when_it_is_due():
    later: Later[str] = Later()
    later.put("second", 0.05)
    later.put("first")
    assert [later.get(), later.get()] == ["first", "second"]
    later.put("never", 99)
    later.close()
    assert later.get() is None
