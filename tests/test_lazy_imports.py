"""Heavy libraries come in without a word, and without reporting home."""

from __future__ import annotations

import os
import subprocess
import sys


def run(code: str, **variables: str) -> subprocess.CompletedProcess:
    dropped = ("TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND")
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


def test_a_user_who_sets_the_log_level_gets_the_log():
    done = run("from tlx.lazy_imports import import_tensorflow as i; i()", TF_CPP_MIN_LOG_LEVEL="0")
    assert done.stderr != ""


def test_what_was_held_back_is_shown_when_the_import_fails():
    done = run(
        "import os\n"
        "from tlx.lazy_imports import _stderr_held_back\n"
        "with _stderr_held_back():\n"
        "    os.write(2, b'the reason\\n')\n"
        "    raise ImportError('no')\n"
    )
    assert done.stderr.startswith("the reason\n")
    assert "ImportError: no" in done.stderr


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
