"""Images in object storage are those of a folder: each is fetched once, and no secret is kept."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import tlx
from tlx.classify.predict import find_images
from tlx.embed import remote
from tlx.embed.dataset import image_paths, scan
from tlx.embed.remote import given_options, listing, locate, read, stat, stat_all, storage_options
from tlx.errors import DataError, MissingExtraError, TlxError
from tlx.workspace import Workspace


@pytest.fixture(autouse=True)
def _few_attempts(monkeypatch):
    monkeypatch.setattr(remote, "RETRY_SECONDS", 0.0)


def columns(manifest) -> tuple:
    return (
        manifest.path,
        manifest.class_names,
        manifest.label.tolist(),
        manifest.split,
        manifest.digest.tobytes(),
        manifest.size.tolist(),
    )


# The same as from a folder


def test_a_bucket_is_embedded_as_its_folder_is(s3, upload, data, embed, tmp_path, make_grid):
    url = upload(data)
    ours = embed(f"{url}/")
    theirs = tlx.embed_images(data, workspace=tmp_path / "local", engine=make_grid())
    local, workspace = Workspace(tmp_path / "local"), Workspace(tmp_path / "ws")
    assert (ours.dataset, ours.images, ours.embedded) == (url[5:], 11, 11)
    assert (ours.classes, theirs.classes) == ({"cats": 6, "dogs": 5},) * 2
    manifest = workspace.load_manifest()
    assert manifest.root == url
    assert columns(manifest) == columns(local.load_manifest())
    X = [tlx.load_features(workspace=place).X for place in (local, workspace)]
    assert np.array_equal(*X)


def test_each_object_is_fetched_once_and_unchanged_ones_never_again(s3, upload, data, embed):
    url = upload(data)
    embed(url)
    assert set(s3.proxy.gets().values()) == {1}
    assert len(s3.proxy.gets()) == 11
    s3.proxy.counts.clear()
    again = embed(url)
    assert (again.embedded, again.reused) == (0, 11)
    assert s3.proxy.gets() == {}


def test_what_changed_alone_is_fetched(s3, upload, data, embed, picture):
    url = upload(data)
    embed(url)
    same_size = (data / "cats/0001.png").read_bytes()
    s3.client.put_object(Bucket=url[5:], Key="cats/0000.png", Body=picture("another"))
    s3.client.put_object(Bucket=url[5:], Key="cats/0001.png", Body=same_size)  # a new time alone
    s3.proxy.counts.clear()
    assert embed(url).embedded == 1
    assert [*s3.proxy.gets()] == [f"/{url[5:]}/cats/0000.png"]


def test_a_prefix_is_a_folder_and_no_beginning_of_names(s3, picture, embed):
    names = (
        "photos/a/1.png",
        "photos2/a/2.png",
        "photos.png",
        "photos/../a/3.png",
        "photos//4.png",
    )
    s3("prefixes", {name: picture(name) for name in names})
    found = scan("s3://prefixes/photos")
    assert found.manifest.path == ["a/1.png"]
    assert found.ignored == {"unsafe name": 2}
    assert image_paths("s3://prefixes/photos2") == ["a/2.png"]


def test_hostile_names_are_names(s3, picture, embed):
    names = ["a/#%41.png", "a/*.png", "a/[1].png", "b/ü .png", "b/'\"&<.png"]
    s3("hostile", {name: picture(name) for name in names})
    result = embed("s3://hostile")
    assert (result.embedded, result.unreadable) == (5, [])


def test_splits_and_parts_and_fractions_hold(s3, upload, tmp_path, class_folders, embed):
    for split in ("train", "test"):
        class_folders(tmp_path / "splits" / split, {"cats": 2, "dogs": 3})
    result = embed(upload(tmp_path / "splits"))
    assert result.splits == {"train": 5, "test": 5}


def test_a_part_of_a_bucket(s3, upload, data, embed):
    url = upload(data)
    parts = [embed(url, part=(n, 2)).embedded for n in (1, 2)]
    s3.proxy.counts.clear()
    assert (sum(parts), embed(url).embedded) == (11, 0)
    assert s3.proxy.gets() == {}


@pytest.mark.parametrize("where", ["bucket", "disk"])
def test_a_csv_file_lists_objects(s3, upload, data, embed, tmp_path, where, manifest):
    url = upload(data)
    rows = ["cats/0000.png,cats", "/dogs/0001.png,dogs", f"{url}/dogs/0002.png,dogs"]
    if where == "disk":
        rows = [f"{url}/cats/0000.png,cats", f"{url}/dogs/0001.png,dogs"]
    text = "\n".join(["path,label", *rows])
    if where == "bucket":
        s3.client.put_object(Bucket=url[5:], Key="labels.csv", Body=text.encode())
    (tmp_path / "labels.csv").write_text(text)
    source = f"{url}/labels.csv" if where == "bucket" else tmp_path / "labels.csv"
    result = embed(source)
    assert (result.dataset, result.embedded, result.unreadable) == ("labels.csv", len(rows), [])
    assert s3.proxy.gets() == dict.fromkeys(s3.proxy.gets(), 1)
    s3.proxy.counts.clear()
    assert embed(source).embedded == 0
    assert s3.proxy.gets() == {}
    if where == "bucket":
        assert manifest().path == ["cats/0000.png", "dogs/0001.png", "dogs/0002.png"]


def test_a_csv_file_from_elsewhere_reads_no_file_of_this_machine(s3, data, embed):
    text = f"path,label\nfile://{data}/cats/0000.png,cats\n"
    s3("foreign", {"labels.csv": text.encode()})
    with pytest.raises(DataError, match=r"labels.csv, line 2: file:// is not read"):
        embed("s3://foreign/labels.csv")


def test_file_urls_are_paths(data, embed, tmp_path):
    (tmp_path / "my photos").symlink_to(data)
    assert embed(f"file://{data}").images == 11
    assert locate(f"file://{data}") is None
    assert scan(f"file://{tmp_path}/my%20photos").source == str(tmp_path / "my photos")


def test_evaluate_and_predict_find_objects(s3, upload, data, embed, tmp_path, grid):
    url = upload(data)
    embed(data)
    run = tlx.fit_head("centroid", workspace=tmp_path / "ws")
    found = tlx.evaluate_run(run, url, workspace=tmp_path / "ws", engine=grid)
    assert (found.n, found.seen) == (11, 11)
    assert find_images(f"{url}/cats")[:2] == [f"{url}/cats/0000.png", f"{url}/cats/0001.png"]
    assert find_images([f"{url}/cats/0003.png"]) == [f"{url}/cats/0003.png"]


def test_a_bucket_and_a_copy_of_it_are_two_data_sets(s3, upload, data, embed):
    first, second = embed(upload(data), name="photos").dataset, embed(data).dataset
    assert (first, second) == ("photos", "data")


# What goes wrong with one image


@pytest.mark.parametrize(("fault", "reason"), [("403", "access is denied"), ("404", "no such")])
def test_what_cannot_be_fetched_is_told_and_tried_again(s3, upload, data, embed, fault, reason):
    url = upload(data)
    s3.proxy.plan = lambda method, path, n: (
        ("403" if fault == "403" else "NoSuchKey") if path.endswith("cats/0000.png") else ""
    )
    result = embed(url)
    assert result.embedded == 10
    assert [bad["path"] for bad in result.unreadable] == ["cats/0000.png"]
    if fault == "403":
        assert result.unreadable[0]["reason"] == reason
    s3.proxy.plan = lambda method, path, n: ""
    again = embed(url)
    assert (again.embedded, again.reused, again.unreadable) == (1, 10, [])


def test_a_damaged_image_is_no_fault_of_the_network(s3, picture, embed):
    s3("damaged", {"a/1.png": picture(1), "a/2.png": picture(2)[:200], "a/3.png": b""})
    assert {bad["path"] for bad in embed("s3://damaged").unreadable} == {"a/2.png", "a/3.png"}
    s3.proxy.counts.clear()
    assert len(embed("s3://damaged").unreadable) == 2
    assert s3.proxy.gets() == {}


def test_an_object_that_changed_since_it_was_listed_is_what_was_read(
    s3, upload, data, embed, manifest, picture
):
    url, new = upload(data), picture("new", size=(64, 64))

    def change(method, path):
        if method == "GET" and path.endswith("/cats/0000.png"):
            s3.client.put_object(Bucket=url[5:], Key="cats/0000.png", Body=new)

    s3.proxy.before = change
    embed(url)
    assert (manifest().size[0], manifest().mtime_ns[0]) == (len(new), -1)
    s3.proxy.before = lambda method, path: None
    s3.proxy.counts.clear()
    assert embed(url).embedded == 0
    assert len(s3.proxy.gets()) == 1  # to be sure
    s3.proxy.counts.clear()
    embed(url)
    assert s3.proxy.gets() == {}


@pytest.mark.parametrize("fault", ["503", "500", "reset", "truncated", "slow"])
def test_a_fault_that_passes_is_not_noticed(s3, upload, data, embed, fault):
    url = upload(data)
    s3.proxy.plan = lambda method, path, n: fault if n == 1 and path.endswith("0.png") else ""
    result = embed(url)
    assert (result.embedded, result.unreadable) == (11, [])


# What goes wrong with all


def told(url, **options) -> str:
    with pytest.raises(TlxError) as caught:
        tlx.embed_images(url, **options)
    return str(caught.value).replace("\n", " ")


def test_a_bucket_that_is_not_there(s3):
    assert told("s3://no-such-bucket/photos") == (
        "s3://no-such-bucket/photos: there is no such bucket. Check the name."
    )


def test_a_folder_that_is_not_there(s3):
    s3("nothing-there", {"other/1.png": b"1"})
    assert "s3://nothing-there/photos: nothing lies there." in told("s3://nothing-there/photos")
    assert "labels.csv: there is no such object." in told("s3://nothing-there/labels.csv")


def test_a_folder_without_images(s3):
    s3("only-texts", {"a/1.txt": b"1"})
    assert "no images in s3://only-texts (1 other files were ignored)" in told("s3://only-texts")


FAULTS = {
    "301": r"is in another region\. Set AWS_REGION=eu-central-1\.",
    "403": r"access is denied\. Ask for the right",
    "InvalidAccessKeyId": r"the credentials are refused \(InvalidAccessKeyId\)\. Set AWS_PROFILE",
    "ExpiredToken": r"the credentials are refused \(ExpiredToken\)\.",
    "503": r"the server is busy \(SlowDown\)\. Check the network",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_server_refuses_is_one_line_and_repeats_nothing(s3, fault):
    s3(f"refused-{fault.lower()}", {"a/1.png": b"1"})
    s3.proxy.plan = lambda method, path, n: fault
    said = told(f"s3://refused-{fault.lower()}/a")
    assert re.search(FAULTS[fault], said), said
    assert "SECRET words" not in said


def test_a_server_that_cannot_be_reached(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "s3://bucket/photos: the server cannot be reached." in told("s3://bucket/photos")


def test_credentials_that_are_missing(s3, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    said = told("s3://bucket/photos")
    assert "no credentials were found. Set AWS_PROFILE" in said
    assert '{"anon": true}' in said


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [("s3://b/x", "s3fs", "s3"), ("gs://b/x", "gcsfs", "gcs"), ("az://b/x", "adlfs", "azure")],
)
def test_a_missing_package_names_its_command_before_the_work(monkeypatch, url, package, extra):
    monkeypatch.setattr(fsspec, "get_filesystem_class", raise_import_error)
    monkeypatch.setenv("AWS_PROFILE", f"none-{extra}")  # nothing opened before is taken
    with pytest.raises(MissingExtraError) as caught:
        tlx.embed_images(url)
    assert str(caught.value) == (
        f"{package} is not installed.\nRun: pip install 'tlx-vision[{extra}]'"
    )


def raise_import_error(name):
    raise ImportError(name)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://host/x", r"ftp:// is not read\. Use s3://"),
        ("s3://", r"s3:// names nothing"),
        ("s3://key:hunter2@bucket/x", r"a s3:// URL has a user or password in it"),
        ("https://hunter2@host/x", r"a https:// URL has a user or password in it"),
        ("s3://bucket/1.png?X-Amz-Signature=hunter2", r"has a signature behind it"),
        ("https://host/photos", r"a web server lists no folders"),
    ],
)
def test_urls_that_are_refused(url, why):
    said = told(url)
    assert re.search(why, said), said
    assert "hunter2" not in said


def test_a_workspace_lies_on_a_file_system(data, grid):
    for place in ("s3://bucket/.tlx", Path("s3://bucket/.tlx")):
        assert "a workspace lies on a file system" in told(data, workspace=place, engine=grid)


# Options


def test_options_are_passed_and_end(s3, monkeypatch, tmp_path, picture):
    s3("options", {"1.png": picture(1)})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    file = tmp_path / "options.json"
    file.write_text(json.dumps({"endpoint_url": s3.proxy.url}))
    for options in (file, {"endpoint_url": s3.proxy.url}):
        with storage_options(options):
            assert [name for name, _, _ in listing("s3://options")] == ["1.png"]
            assert given_options()
    assert given_options() is None


@pytest.mark.parametrize(
    ("text", "why"),
    [(None, "cannot be read: No such file"), ("{", "is no JSON file"), ("[1]", "no JSON object")],
)
def test_options_that_are_none(tmp_path, text, why):
    if text is not None:
        (tmp_path / "options.json").write_text(text)
    with pytest.raises(DataError, match=why), storage_options(tmp_path / "options.json"):
        pass


def test_options_of_another_store_name_no_values(s3):
    with storage_options({"nonsense": "hunter2"}):
        said = told("s3://bucket/x")
    assert "the storage options are not those of such a store" in said
    assert "hunter2" not in said


def test_no_secret_is_kept_or_told(s3, upload, data, embed, tmp_path, caplog, capfd):
    """Of the environment, of options, and of what the server says."""
    caplog.set_level(logging.WARNING)
    url = upload(data)
    s3.proxy.plan = lambda method, path, n: "403" if path.endswith("cats/0000.png") else ""
    with storage_options({"secret": "hunter2hunter2", "key": "AKIDSECRETSECRET"}):
        result = embed(url)
    run = tlx.fit_head("centroid", workspace=tmp_path / "ws")
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    said = (
        repr(result)
        + str(result.unreadable)
        + repr(run)
        + caplog.text
        + "".join(capfd.readouterr())
    )
    for secret in ("hunter2hunter2", "AKIDSECRETSECRET", "TOPSECRET", "SECRET words"):
        assert secret not in said
        assert not [1 for data in kept if secret.encode() in data]


# Other stores: through fsspec alone


def fake(name: str):
    """Return a store of fsspec that is in memory and called otherwise."""
    return type(name, (MemoryFileSystem,), {"protocol": (name,), "store": {}, "pseudo_dirs": [""]})


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_other_stores_are_read_through_fsspec(scheme, data, embed, monkeypatch):
    kind = fake(scheme)
    monkeypatch.setattr(fsspec, "get_filesystem_class", lambda name: {scheme: kind}[name])
    monkeypatch.setenv("GOOGLE_TEST", f"{scheme}-{data}")  # none that was opened before
    kind().put(str(data), f"{scheme}://bucket/photos", recursive=True)
    result = embed(f"{scheme}://bucket/photos")
    assert (result.embedded, result.classes) == (11, {"cats": 6, "dogs": 5})
    again = embed(f"{scheme}://bucket/photos")
    assert (again.embedded, again.reused) == (0, 11)
    size, stamp = stat(f"{scheme}://bucket/photos/cats/0000.png")
    assert size == (data / "cats/0000.png").stat().st_size
    assert stamp >= 0


def test_one_file_is_asked_for_and_read(s3, picture):
    s3("one-file", {"1.png": picture(1), "empty.png": b""})
    assert read("s3://one-file/1.png") == picture(1)
    assert read("s3://one-file/1.png", 7) == picture(1)[:7]
    assert read("s3://one-file/empty.png") == b""
    size, stamp = stat("s3://one-file/1.png")
    assert [(f, s, v) for f, s, v in listing("s3://one-file") if f == "1.png"] == [
        ("1.png", size, stamp)
    ]
    assert stat_all(["s3://one-file/2.png"]) == [(0, 0, "there is no such object")]


@pytest.mark.parametrize("fault", ["503", "reset"])
def test_an_archive_in_a_bucket_outlasts_a_network_that_fails(s3, data, embed, fault):
    import io
    import zipfile

    with zipfile.ZipFile(whole := io.BytesIO(), "w") as file:
        for path in sorted(data.rglob("*.png")):
            file.write(path, path.relative_to(data))
    s3(f"zipped-{fault}", {"all.zip": whole.getvalue()})
    s3.proxy.plan = lambda method, path, n: fault if method == "GET" and n <= 3 else ""
    result = embed(f"s3://zipped-{fault}/all.zip")
    assert (result.embedded, result.unreadable) == (11, [])
