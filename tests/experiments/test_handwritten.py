"""What people wrote by hand in results/ is read as it stands, or refused in one sentence that names the line."""

import pytest

from rdlib.errors import RecordError
from rdlib.experiments.handwritten import paper
from rdlib.paper import questions
from rdlib.runs.store import RESULTS

GOOD = (RESULTS / "paper.csv").read_text()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (GOOD, "", "cannot be read as CSV"),
        ("value,unit", "number,unit", "has no column 'value'"),
        (",source\n", "\n", "line|column"),
        (",", ";", "has no column 'id'"),
        ("95.39", "ninety", "has 'ninety' as value in line 'cifar10_resnet34'"),
        ("95.39", '"95,39"', "has '95,39' as value"),
        ("95.39", "9539", "has '9539' as value"),
        ("95.39", "-95.39", "has '-95.39' as value"),
        ("95.39", "nan", "has 'nan' as value"),
        ("95.39", "inf", "has 'inf' as value"),
        ("1.4,x", ",x", "has an empty value in line 'claim_speedup'"),
        ("cifar10,34,ResNet", "cifar10,deep,ResNet", "has 'deep' as depth"),
        ("cifar10,34,ResNet", "cifar10,,ResNet", "has an empty depth in line 'cifar10_resnet34'"),
        ("cifar10,34,ResNet", ",34,ResNet", "has an empty dataset"),
        (",abstract\n", ",\n", "has an empty source"),
        (",JointRD,none,", ",JointRD,some,", "has 'some' as plain in line 'cifar10_jointrd34_hub'"),
        ("cifar10_plain34,", "cifar10_resnet34,", "has two lines 'cifar10_resnet34'"),
        ("cifar10_plain34,", ",", "has a line without id"),
        ("claim_memory,", "memory,", "has no line 'claim_memory'"),
        ("survey", "s\udcffrvey", "cannot be read as CSV"),
    ],
)
def test_an_edit_that_cannot_be_right_is_named(old, new, sentence, tmp_path):
    path = tmp_path / "paper.csv"
    path.write_text(GOOD.replace(old, new), "utf-8", "surrogateescape")
    with pytest.raises(RecordError, match=rf"^paper\.csv .*({sentence}).*restore it from git$"):
        paper(path)


@pytest.mark.parametrize("change", [("", "\ufeff"), ("\n", "\r\n"), ("\n", "\n\n")])
def test_the_marks_of_an_editor_change_nothing(change, tmp_path):
    path = tmp_path / "paper.csv"
    path.write_text(change[1] + GOOD if change[0] == "" else GOOD.replace(*change), newline="")
    assert paper(path).equals(paper())


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [("compared,", "held,", "no column 'compared'"), ("help,main", "aid,main", "no line 'help'")],
)
def test_questions_are_held_to_the_same(old, new, sentence, tmp_path):
    path = tmp_path / "questions.csv"
    text = (RESULTS / "questions.csv").read_text()
    path.write_text(text.replace(old, new))
    with pytest.raises(RecordError, match=rf"^questions\.csv has {sentence}"):
        questions.written(path)
    path.write_text(text + "more,main" + "," * 10 + "\n")
    with pytest.raises(RecordError, match=r"^questions\.csv asks 'more', which has no rows"):
        questions.written(path)
