"""The sequential test behind `sustained`: a CUSUM of the calibrated log likelihood ratio against real footage's drift.

    S <- max(0, S + (llr - drift) * seconds),   raised when S >= raise_at

Page, "Continuous inspection schemes", Biometrika 41 (1954); that no other test of its false-alarm rate notices a change
sooner: Lorden, Ann. Math. Statist. 42 (1971), Moustakides, Ann. Statist. 14 (1986). These hold for independent looks.
Neighbouring frames of a face are anything but: so the evidence is integrated over time, in llr seconds, which makes it
the same at every frame rate, and the level is not taken from theory but from the excursions of S on real footage, whose
correlation in time is then in the level (`stream_detect.training.budget`). `drift` stands for the people, cameras and
codecs whose real faces look somewhat forged all the time: what is less than that never adds up, however long it lasts.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cusum:
    """The test so far. Times are pts in seconds, `level` and `after` are in llr seconds."""

    level: float = 0.0
    started_s: float | None = None  # where the level last was at zero: the estimated time of the change
    mean: float = 0.0  # llr per second of evidence since then
    lasted_s: float = 0.0  # of evidence since then


def taken(cusum: Cusum, pts_s: float, llr: float, lasted_s: float, drift: float, most: float) -> Cusum:
    """One look: an llr that held for the `lasted_s` seconds before `pts_s`. The level stays at most `most`."""
    level = cusum.level + (llr - drift) * lasted_s
    if level <= 0.0:
        return Cusum(0.0, pts_s)
    goes_on = cusum.level > 0.0 and cusum.started_s is not None
    started_s = cusum.started_s if goes_on else pts_s - lasted_s
    before_s = cusum.lasted_s if goes_on else 0.0
    together_s = before_s + lasted_s
    mean = llr if together_s == 0 else (cusum.mean * before_s + llr * lasted_s) / together_s
    return Cusum(min(level, most), started_s, mean, together_s)


def passed_over(cusum: Cusum, pts_s: float) -> Cusum:
    """Time in which nothing could be judged: it counts neither for nor against."""
    return Cusum(0.0, pts_s) if cusum.level == 0.0 else cusum
