"""Heavy libraries come in without a word, and without reporting home."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest


def run(code: str, **variables: str) -> subprocess.CompletedProcess:
    dropped = ("TF_CPP_MIN_LOG_LEVEL", "TLX_VERBOSE", "KERAS_BACKEND")
    environment = {k: v for k, v in os.environ.items() if k not in dropped}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_keras_and_a_first_operation_say_nothing():
    done = run(
        "from tlx.lazy_imports import import_keras\n"
        "keras = import_keras()\n"
        "keras.ops.ones(3)\n"
        "print(keras.backend.backend())\n",
        KERAS_BACKEND="jax",
    )
    assert (done.stdout, done.stderr) == ("tensorflow\n", "")


TRAINING = """
from tlx.lazy_imports import import_keras
keras = import_keras()
pixels = keras.Input((8, 8, 3))
x = keras.layers.DepthwiseConv2D(3)(keras.layers.Conv2D(4, 3)(pixels))
model = keras.Model(pixels, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
model.compile("adam", "mse")
model.fit(keras.ops.ones((4, 8, 8, 3)), keras.ops.ones((4, 2)), verbose=0)
"""


@pytest.mark.slow
def test_a_training_says_nothing_whatever_log_level_is_set():
    done = run(TRAINING, TF_CPP_MIN_LOG_LEVEL="0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_who_asks_for_it_gets_the_log():
    code = "from tlx.lazy_imports import import_tensorflow, set_verbose\nset_verbose()\n"
    assert run(code + "import_tensorflow()", TF_CPP_MIN_LOG_LEVEL="0").stderr != ""


@pytest.fixture
def fake(tmp_path) -> Callable[[str], subprocess.CompletedProcess]:
    """Return a function that imports a package `tensorflow` of one line more than a chatter."""

    def imports(line: str) -> subprocess.CompletedProcess:
        (tmp_path / "tensorflow.py").write_text(f"import os\nos.write(2, b'chatter\\n')\n{line}\n")
        code = "from tlx.lazy_imports import import_tensorflow\nimport_tensorflow()\n"
        return run(code, PYTHONPATH=str(tmp_path))

    return imports


def test_what_was_held_back_is_shown_when_the_import_fails(fake):
    done = fake("raise ImportError('no')")
    assert done.stderr.startswith("chatter\n")
    assert "ImportError: no" in done.stderr


def test_what_python_says_meanwhile_is_not_held_back(fake):
    done = fake(
        "import sys, types; print('progress', file=sys.stderr)\nconfig = "
        "types.SimpleNamespace(list_physical_devices=list)"
    )
    assert (done.returncode, done.stderr) == (0, "progress\n")


def test_a_crash_in_the_import_says_where(fake):
    done = fake("os.abort()")
    assert done.returncode != 0
    assert "tensorflow.py" in done.stderr


def test_openvino_reports_nothing_and_writes_nothing_at_home(tmp_path):
    done = run(
        "import sys, threading\n"
        "from tlx.lazy_imports import import_converter, import_openvino\n"
        "import_openvino()\n"
        "print(import_converter().__name__, len(threading.enumerate()))\n"
        "print([m for m in sys.modules if m.startswith('openvino_telemetry')])\n",
        HOME=str(tmp_path),
    )
    assert (done.stdout, done.stderr) == ("convert_model 1\n[]\n", "")
    assert not list(tmp_path.rglob("*"))


def test_the_converter_is_imported_when_it_is_first_called():
    done = run(
        "import sys\n"
        "from tlx.lazy_imports import import_openvino\n"
        "openvino = import_openvino()\n"
        "print('openvino.tools.ovc' in sys.modules)\n"
        "try:\n"
        "    openvino.convert_model('no such file')\n"
        "except Exception as error:\n"
        "    print(type(error).__module__.startswith('openvino'))\n"
        "print('openvino.tools.ovc' in sys.modules)\n"
    )
    assert done.stdout == "False\nTrue\nTrue\n"
