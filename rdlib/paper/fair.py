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
    table = pd.DataFrame(lines)
    lacking = sum(not cell(row, store).whole for *_, row in grid(profile, ways))
    name = "rivals-tune" if ways is WAYS else "alone-tune"
    return table.assign(**{"to fill": fill_command(profile, name, store)}) if lacking else table
