"""A table as a notebook shows it: folded where asked, one line where nothing was run, the same text in a terminal."""

import pandas as pd

from rdlib.paper.rendering import Shown

WAITS = "python -m rdlib sweep quick --table deeper"


def frame(*counts: str) -> pd.DataFrame:
    lines = [{"cell": f"c{i}", "n": n, "to fill": "" if n == "1/1" else WAITS} for i, n in enumerate(counts)]
    return pd.DataFrame(lines)


def test_a_table_without_a_result_is_one_line_that_names_its_command() -> None:
    assert str(Shown(frame("0/1", "0/3"))) == f"2 cells not run: {WAITS}"
    assert Shown(frame("0/1"), fold="seeds").markdown() == f"1 cell not run: `{WAITS}`"


def test_a_table_with_one_result_or_a_reported_value_stays_a_table() -> None:
    assert "c1" in str(Shown(frame("0/1", "1/1")))
    assert "c0" in str(Shown(frame("0/1").assign(**{"reported (%)": "70.00"})))


def test_a_fold_hides_the_table_under_its_sentence_and_is_not_in_the_text() -> None:
    shown = Shown(frame("1/1"), ["said < once"], fold="each seed < 3")
    assert shown.markdown().startswith("<details><summary>each seed &lt; 3</summary>\n\n| cell |")
    assert shown.markdown().endswith("- said < once\n\n</details>")
    assert "details" not in str(shown)


def test_in_a_notebook_no_line_ends_within_an_interval_or_after_a_sign() -> None:
    lines = pd.DataFrame({"ours": ["+1.2 [-0.4, +2.8]", "1.11x [1.10x, 1.12x]", "98.7 ± 0.4", "see [02] or"]})
    shown = Shown(lines)
    found = [line.strip("| ") for line in shown._repr_markdown_().splitlines()[2:]]
    told = ["+1.2 [-0.4,~+2.8]", "1.11x [1.10x,~1.12x]", "98.7 ±~0.4", "see [02] or"]
    assert found == [text.replace("~", "\u00a0") for text in told]
    assert "\u00a0" not in shown.markdown() + str(shown)
