"""What each way chose from its grid on the tune split, by rule."""

from collections.abc import Iterable, Sequence
from itertools import groupby

import pandas as pd

from rdlib.experiments.fair import CHOSEN, RATES, Setting, grid, published
from rdlib.experiments.profiles import Profile
from rdlib.experiments.rows import Row
from rdlib.experiments.tables import cell, fill_command
from rdlib.rivals.register import ALONE, WAYS, Way
from rdlib.runs.store import Store

Means = dict[Setting, float]


def tried(profile: Profile, store: Store, ways: Sequence[Way] = WAYS) -> dict[Way, Means]:
    """By way, the mean tune top-1 of every setting that has a record of all its seeds; a diverged one has no mean."""
    found: dict[Way, Means] = {}
    for way, points in groupby(grid(profile, ways), lambda point: point[0]):
        cells = {setting: cell(row, store) for _, setting, row in points}
        found[way] = {setting: ours.mean for setting, ours in cells.items() if len(ours.values) == ours.wanted}
    return found


def best(way: Way, means: Means) -> Setting:
    """The highest mean; of equals the one fewest steps of the grid from the published one, then the lower rate."""
    home = published(way)

    def steps(setting: Setting) -> int:
        rates, values = (sorted(of) for of in (RATES, way.tried))
        along = abs(rates.index(setting.rate) - rates.index(home.rate))
        return along + abs(values.index(setting.value) - values.index(home.value))

    return min(means, key=lambda setting: (-means[setting], steps(setting), setting.rate, setting.value))


def choices(profile: Profile, store: Store, ways: Sequence[Way] = WAYS + ALONE) -> dict[str, Setting]:
    """What CHOSEN must say: of every way whose whole grid has been run the best setting."""
    found = tried(profile, store, ways)
    whole = {way for way, points in groupby(grid(profile, ways), lambda point: point[0]) if done(points, store)}
    return {way.name: best(way, means) for way, means in found.items() if way in whole and means}


def done(points: Iterable[tuple[Way, Setting, Row]], store: Store) -> bool:
    """Whether nothing of these points is left to train."""
    return all(cell(row, store).whole for *_, row in points)


def chosen_table(profile: Profile, store: Store, ways: Sequence[Way] = WAYS) -> pd.DataFrame:
    """A line a way whose whole grid has been run: what it chose, its mean tune top-1 and that of the published setting;
    and in which of the two it lies at an end of the grid, beyond which it might do better."""
    lines, found, best_of = [], tried(profile, store, ways), choices(profile, store, ways)
    for way, means in found.items():
        if (ours := best_of.get(way.name)) is not None:
            tried_of = {"rate": (ours.rate, RATES), "weight": (ours.value, way.tried)}
            usual = means.get(published(way))
            lines.append(
                {
                    "way": way.name,
                    "rate": f"{ours.rate:g}",
                    "weight": f"{way.weight} {ours.value:g}",
                    "tune top-1 (%)": f"{means[ours]:.1f}",
                    "as published (%)": "diverged" if usual is None else f"{usual:.1f}",
                    "at an end of": " and ".join(k for k, (v, of) in tried_of.items() if v in (min(of), max(of))),
                }
            )
    return pd.DataFrame(lines)


def progress(profile: Profile, store: Store, ways: Sequence[Way] = WAYS) -> str:
    """How much of the grid has been run, and what runs the rest."""
    run = [cell(row, store).whole for *_, row in grid(profile, ways)]
    if not run:
        return f"profile {profile.name} has no such grid: only quick, whose runs are short, has one"
    said = f"{sum(run)} of {len(run)} settings run on the tune split"
    name = "rivals-tune" if ways is WAYS else "alone-tune"
    return said if all(run) else f"{said}; to fill: {fill_command(profile, name, store)}"


def grid_table(profile: Profile, store: Store, ways: Sequence[Way] = WAYS) -> pd.DataFrame:
    """A line a way and value of its main weight, a column a rate: mean tune top-1; a star at what was chosen."""
    lines, found = [], tried(profile, store, ways)
    for way, means in found.items():
        for value in way.tried:
            line = {"way": way.name, "weight": f"{way.weight} {value:g}"}
            for rate in RATES:
                setting = Setting(rate, value)
                star = " *" if CHOSEN.get(way.name) == setting else ""
                line[f"rate {rate:g}"] = f"{means[setting]:.1f}{star}" if setting in means else ""
            lines.append(line | {"published": "yes" if value == published(way).value else ""})
    return pd.DataFrame(lines)
