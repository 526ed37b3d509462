"""The tails that need no scipy.special are those of scipy.special."""

import subprocess
import sys

import pytest
from scipy.special import betainc, chdtrc

from tlx.classify.scoring.tails import binomial_tail, chi_square_tail


@pytest.mark.parametrize("n", [0.3, 1, 2.5, 7, 40.2, 399, 2_000.5, 50_000])
@pytest.mark.parametrize("share", [0.5, 0.51, 0.6, 0.9, 1.0])
def test_binomial_tail_is_the_incomplete_beta_function(n: float, share: float) -> None:
    k = n * share
    wanted = betainc(k, n - k + 1, 0.5)
    assert binomial_tail(n, k) == pytest.approx(wanted, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("df", [1, 2, 3, 9, 100, 999])
@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.5, 1.0, 1.3, 3.0])
def test_chi_square_tail_is_that_of_scipy(df: int, ratio: float) -> None:
    assert chi_square_tail(df, df * ratio) == pytest.approx(chdtrc(df, df * ratio), rel=1e-9)


def test_no_degree_of_freedom_is_no_evidence() -> None:
    assert chi_square_tail(0, 3.0) == 1.0


def test_a_comparison_does_not_import_scipy() -> None:
    code = (
        "import sys; import numpy as np\n"
        "from tlx.classify.scoring.paired import compare_with_first\n"
        "from tlx.classify.scoring.prevalence import prevalence_shift\n"
        "from tlx.classify.scoring.equivalence import images_needed\n"
        "y = np.arange(60) % 2; p = np.random.default_rng(0).dirichlet([1, 1], 60)\n"
        "d = compare_with_first('accuracy', y, [p, p[::-1]], np.arange(60))\n"
        "images_needed(d[1], 0.01, 60)\n"
        "prevalence_shift(y, np.arange(60), np.array([.1, .9]), 100)\n"
        "sys.exit(any(name.startswith('scipy') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
