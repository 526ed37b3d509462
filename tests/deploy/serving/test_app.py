"""What a server answers, in a real process on loopback."""

from __future__ import annotations

import io
import json
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from serving_helpers import form, pixels

from tlx.classify.predict import predict_images
from tlx.classify.runs.best import load_run

INFER = "/v2/models/colours/infer"
FIELD = b'--x\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n\xff\r\n--x--\r\n'


def tensor(shape, **more):
    return {"name": "image", "shape": shape, "datatype": "UINT8", **more}


def test_photos_get_what_predict_says_of_their_files(served, photos, run_folder):
    files = sorted((photos / "data").rglob("*.png"))[::9]
    run = load_run(str(run_folder))
    expected = predict_images(run, files, workspace=photos / ".tlx", reject=0.3)
    told = served.predict(*((file.name, file.read_bytes()) for file in files)).json
    assert (told["run"], told["reject"]["error"]) == ("colours", 0.3)
    for row, other, file in zip(told["predictions"], expected, files, strict=True):
        assert row.keys() == vars(other).keys()
        assert (row["path"], row["label"], row["error"]) == (file.name, other.label, "")
        assert row["probabilities"] == pytest.approx(other.probabilities, abs=1e-6)
        assert row["stranger"] == pytest.approx(other.stranger)


def test_what_cannot_be_read_is_a_row_and_the_others_are_predicted(served, amber):
    names = "../../etc/passwd", "cut.png", "x" * 300
    answer = served.predict(*zip(names, (b"text", amber[:500], amber), strict=True))
    rows = answer.json["predictions"]
    assert answer.status == 200
    assert [row["path"] for row in rows] == [*names[:2], "x" * 255]
    assert rows[0]["error"].startswith("not an image")
    assert (rows[1]["label"], rows[2]["label"]) == (None, "amber")


def test_many_at_once_are_told_apart(served, photos):
    files = sorted((photos / "data").rglob("*.png"))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda f: served.predict((f.name, f.read_bytes())), files))
    alone = served.predict(("a", files[0].read_bytes())).json["predictions"][0]["probabilities"]
    assert answers[0].json["predictions"][0]["probabilities"] == pytest.approx(alone, abs=1e-6)
    assert [a.json["predictions"][0]["path"] for a in answers] == [f.name for f in files]


@pytest.mark.parametrize(
    ("kind", "body", "status", "detail"),
    [
        ("application/json", b"{}", 415, "multipart"),
        ("multipart/form-data", b"", 400, "boundary"),
        ("multipart/form-data; boundary=x", b"--x\r\ngarbage", 400, ""),
        ("multipart/form-data; boundary=x", b"--x--\r\n", 400, "no photo"),
        ("multipart/form-data; boundary=x; charset=UTF-8", FIELD, 400, "no photo"),
        ("multipart/form-data; boundary=x; charset=undefined", FIELD, 415, "UTF-8"),
        ("multipart/form-data; boundary=x; charset=punycode", FIELD, 415, "UTF-8"),
    ],
)
def test_what_is_no_form_with_photos_is_a_problem(served, kind, body, status, detail):
    answer = served.ask("POST", "/predict", body, {"Content-Type": kind})
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == status
    assert detail in answer.json["detail"]


def test_a_photo_of_too_many_pixels_is_refused_by_what_it_claims(served):
    buffer = io.BytesIO()
    Image.new("1", (9000, 8000)).save(buffer, "PNG")
    (row,) = served.predict(("wide.png", buffer.getvalue())).json["predictions"]
    assert row["error"] == "too many pixels: 9000x8000, at most 64 million"


def test_too_many_photos_are_refused(served):
    assert served.predict(*[("a", b"b")] * 33).status == 400


def test_paths_and_methods_that_are_not_there_are_problems(served):
    for method, path, status in (
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/predict", 405),
        ("GET", "/v2/models/other", 404),
    ):
        answer = served.ask(method, path)
        assert (answer.status, answer.json["status"]) == (status, status)


# The Open Inference Protocol


def test_the_model_tells_what_goes_in_and_comes_out(served):
    told = served.get("/v2/models/colours").json
    assert told["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 224, 224, 3]}]
    assert told["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}]
    assert told["parameters"]["class_names"] == ["amber", "blue"]
    assert told == served.get("/v2/model").json


def test_it_is_live_and_ready(served):
    assert served.get("/v2/health/live").json == {"live": True}
    assert served.get("/v2/health/ready").json == {"ready": True}
    assert served.get("/v2/models/colours/ready").json["ready"] is True


def test_pixels_as_json_and_as_bytes_get_the_same_probabilities(served):
    batch = pixels(2)
    asked = {"id": "7", "inputs": [tensor([2, 224, 224, 3], data=batch.ravel().tolist())]}
    told = served.ask("POST", INFER, json.dumps(asked).encode()).json
    assert (told["model_name"], told["id"]) == ("colours", "7")
    expected = np.reshape(told["outputs"][0]["data"], told["outputs"][0]["shape"])
    size = {"parameters": {"binary_data_size": batch.size}}
    asked = {
        "inputs": [tensor([2, 224, 224, 3], **size)],
        "parameters": {"binary_data_output": True},
    }
    head = json.dumps(asked).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = served.ask("POST", INFER, head + batch.tobytes(), headers)
    cut = int(answer.headers["inference-header-content-length"])
    assert json.loads(answer.body[:cut])["outputs"][0]["shape"] == [2, 2]
    found = np.reshape(struct.unpack("<4f", answer.body[cut:]), (2, 2))
    assert found == pytest.approx(expected, abs=1e-6)
    assert found.sum(axis=1) == pytest.approx([1, 1])


# Pages and counts


def test_pages_ask_for_nothing_elsewhere_and_say_so(served):
    for path in ("/", "/page.css", "/page.js", "/docs"):
        answer = served.get(path)
        assert answer.status == 200
        assert b"://" not in answer.body.replace(b"http://localhost:8000", b"")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "/predict" in served.get("/openapi.json").json["paths"]


def test_counts_go_up(served, amber):
    def count(name: str) -> float:
        lines = served.get("/metrics").body.decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    before = count('tlx_predictions_total{label="amber"}'), count("tlx_unreadable_images_total")
    served.predict(("a", amber), ("b", b""))
    after = count('tlx_predictions_total{label="amber"}'), count("tlx_unreadable_images_total")
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1]
    assert count('tlx_requests_total{route="/predict",status="200"}') > 0
    assert count("tlx_stranger_share_expected") == pytest.approx(0.01)


def test_a_field_that_is_no_file_is_no_photo(served, amber):
    body, kind = form(("a", amber))
    text = b'--frontier\r\nContent-Disposition: form-data; name="files"\r\n\r\n/etc/passwd\r\n'
    rows = served.ask("POST", "/predict", text + body, {"Content-Type": kind}).json["predictions"]
    assert [row["path"] for row in rows] == ["a"]
