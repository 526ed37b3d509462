"""What is counted can be read by Prometheus, also that of several processes."""

from __future__ import annotations

from tlx.deploy.serving.metrics import MULTIPROCESS, Metrics


def test_every_class_starts_at_none():
    page = Metrics(["cat", 'a "quoted" one\n']).page().decode()
    assert 'tlx_predictions_total{label="cat"} 0.0' in page
    assert 'label="a \\"quoted\\" one\\n"' in page


def test_two_servers_of_one_process_do_not_count_together():
    one, other = Metrics(["cat"]), Metrics(["cat"])
    one.predictions.labels("cat").inc()
    assert 'tlx_predictions_total{label="cat"} 1.0' in one.page().decode()
    assert 'tlx_predictions_total{label="cat"} 0.0' in other.page().decode()


CODE = """
import sys
from tlx.deploy.serving.metrics import Metrics
metrics = Metrics(["cat"])
metrics.predictions.labels("cat").inc(2)
metrics.strangers.set(0.5)
print(metrics.page().decode())
"""


def test_processes_are_added_up(environment, tmp_path, python):
    code = f"import os; os.environ[{MULTIPROCESS!r}] = {str(tmp_path)!r}\n{CODE}"
    python(code)
    page = python(code)
    assert 'tlx_predictions_total{label="cat"} 4.0' in page
