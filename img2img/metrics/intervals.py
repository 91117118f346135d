"""How sure a share is."""

from __future__ import annotations

import math

Z95 = 1.959963984540054  # of the normal distribution: 95 % lie within


def wilson(hits: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a share of `hits` in `n` independent trials, 95 % unless `z` says
    otherwise (E. B. Wilson, "Probable inference", 1927; Brown, Cai and DasGupta, "Interval
    estimation for a binomial proportion", 2001, eq. 4). (0, 1) for no trial."""
    if n == 0:
        return 0.0, 1.0
    share, extra = hits / n, z * z / n
    middle = (share + extra / 2) / (1 + extra)
    half = z * math.sqrt(share * (1 - share) / n + extra / (4 * n)) / (1 + extra)
    return (0.0 if hits == 0 else middle - half), (1.0 if hits == n else middle + half)
