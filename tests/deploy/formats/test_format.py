"""What every format must pass: a network written, opened again, and the same probabilities."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tlx.classify.heads.registry import heads
from tlx.deploy.export import export_run
from tlx.deploy.formats.format import PRECISIONS, Format, Order
from tlx.deploy.formats.registry import formats
from tlx.deploy.network import run_network
from tlx.deploy.parity import TOLERANCE
from tlx.errors import MissingExtraError

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning"),
]
NOTE = {
    "class_names": ["ant", "bee", "cät <b>"],
    "run": "logreg-1",
    "dataset": "photos",
    "fingerprint": "0" * 64,
    "image_size": 16,
    "fit": "squash",
    "interpolation": "bilinear",
}
BATCH = np.random.default_rng(0).integers(0, 256, (9, 16, 16, 3), np.uint8)


@pytest.fixture(scope="session")
def network(make_run):
    """Return the network of a head on a backbone, built once."""
    built = {}

    def get(model: str = "logreg", backbone: str = "plain"):
        if (model, backbone) not in built:
            built[model, backbone] = run_network(make_run(model, backbone))
        return built[model, backbone]

    return get


def written(kind: Format, network, folder) -> np.ndarray:
    kind.write(network, folder / kind.file, Order(NOTE))
    return kind.open(folder / kind.file)(BATCH)


@pytest.fixture(params=formats().values(), ids=lambda kind: kind.name)
def kind(request) -> Format:
    try:
        request.param.require()
    except MissingExtraError as error:
        pytest.skip(error.cause)
    return request.param


class TestEveryFormat:
    def test_gives_the_probabilities_of_the_network(self, kind, network, tmp_path):
        found = written(kind, network(), tmp_path)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, np.asarray(network()(BATCH)), atol=1e-5)

    def test_tells_what_it_is(self, kind):
        assert kind.help
        assert set(kind.precisions) <= set(PRECISIONS)
        assert "float32" in kind.precisions

    def test_a_missing_package_names_the_command(self, kind):
        lacking = dataclasses.replace(kind, modules=("no_such_module",), extra="export")
        with pytest.raises(MissingExtraError, match=r"pip install 'tlx-vision\[export\]'"):
            lacking.require()

    def test_what_is_no_such_file_is_refused(self, kind, tmp_path):
        path = tmp_path / kind.file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"nothing of the kind")
        with pytest.raises(Exception, match=r"."):
            kind.open(path)(BATCH)


def test_what_only_writes_a_file_is_not_needed_to_open_it():
    onnx = formats()["onnx"]
    assert onnx.runs_with == ("onnxruntime",)
    dataclasses.replace(onnx, modules=("no_such_module",), runs_with=()).require_runtime()
    lacking = dataclasses.replace(onnx, runs_with=("no_such_module",))
    for require in (lacking.require, lacking.require_runtime):
        with pytest.raises(MissingExtraError, match="no_such_module"):
            require()


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["plain", "nested"])
@pytest.mark.parametrize("model", heads())
def test_every_head_on_two_backbones(model, backbone, kind, network, tmp_path):
    found = written(kind, network(model, backbone), tmp_path)
    np.testing.assert_allclose(found, np.asarray(network(model, backbone)(BATCH)), atol=TOLERANCE)


@pytest.mark.slow
def test_every_format_passes_the_gate(kind, make_run, leaving, tmp_path):
    run = make_run("vote", "plain+nested")
    done = export_run(run, kind.name, tmp_path / "out", workspace=leaving)
    assert done.parity.good
    assert done.parity.images == 60
