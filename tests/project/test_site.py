"""The site's sources: what `make site` will show, and that nothing in it leads nowhere. Needs no Jupyter Book."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml
from scripts import script

from rdlib.files import ROOT

SITE = ROOT / ".ci" / "site"


site = script("site/build")


def anchors(page: Path) -> set[str]:
    """The anchors GitHub, and the site, give to a page's headings."""
    headings = re.findall(r"^#{1,3} (.+)$", site.prose(page), re.MULTILINE)
    return {"", *(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)}


def test_the_contents_list_every_notebook_once_and_else_only_pages_that_exist() -> None:
    listed = [page for page in site.pages() if page.suffix == ".ipynb"]
    there = [path.relative_to(ROOT) for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")]
    assert sorted(listed) == sorted(path for path in there if not path.stem.endswith(".executed"))
    assert site.pages()[0] == Path("README.md")
    assert all((ROOT / page).is_file() for page in site.pages())


def test_the_site_executes_nothing_and_shows_stills_for_widgets() -> None:
    config = yaml.safe_load((SITE / "_config.yml").read_text())
    assert config["execute"]["execute_notebooks"] == "off"
    sphinx = config["sphinx"]["config"]
    assert ["html", "application/vnd.jupyter.widget-view+json", None] in sphinx["nb_mime_priority_overrides"]
    assert sphinx["html_math_renderer"] == "mathml"
    assert sphinx["nb_ipywidgets_js"] == {}


@pytest.mark.parametrize("page", site.pages(), ids=str)
def test_every_link_of_a_page_leads_to_a_file_or_heading_that_exists(page: Path) -> None:
    assert "<img" not in site.prose(page), f"{page}: only Markdown's own pictures are copied into the site"
    for file in site.linked(page):
        assert (ROOT / file).is_file(), f"{page} links to {file}: the site cannot show what is no file"
        assert file in site.pages() or file.suffix not in (".md", ".ipynb"), f"{file} is no page of the site"
    for target in site.LINK.findall(site.prose(page)):
        path, _, anchor = target.partition("#")
        if anchor and "://" not in target:
            there = page if not path else Path(site.relpath(ROOT / page.parent / path, ROOT))
            assert anchor in anchors(there), f"{page} links to {target}, which has no such heading"


def test_names_of_notebooks_become_links_once() -> None:
    text = "see `02_table3_accuracy`, [`02_table3_accuracy`](x.ipynb) and `99_none`"
    assert site.named(text, Path("README.md")) == (
        "see [`02_table3_accuracy`](notebooks/02_table3_accuracy.ipynb), [`02_table3_accuracy`](x.ipynb) and `99_none`"
    )
    assert "(02_table3_accuracy.ipynb)" in site.named(text, Path("notebooks/13_questions.ipynb"))


def test_gathering_keeps_outputs_and_drops_only_progress_bars(tmp_path: Path) -> None:
    site.gather(tmp_path)
    assert (tmp_path / "results" / "tables" / "depth.png").is_file()
    dropped = 0
    for page in (page for page in site.pages() if page.suffix == ".ipynb"):
        before, after = (nbformat.read(root / page, 4).cells for root in (ROOT, tmp_path))
        for old, new in zip(before, after, strict=True):
            kept = [o for o in old.get("outputs", []) if "%|" not in o.get("data", {}).get("text/plain", "")]
            assert new.get("outputs", []) == kept
            dropped += len(old.get("outputs", [])) - len(kept)
    assert dropped, "no notebook has a progress bar any more: drop the rule"


@pytest.mark.parametrize(
    ("step", "code", "left"),
    [("gather", 130, "old"), ("build", 130, "old"), ("faults", 130, "old"), ("dead link", 1, "old"), ("", 0, "new")],
)
def test_only_a_whole_site_replaces_a_whole_one_and_ctrl_c_ends_in_one_sentence(
    step: str, code: int, left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def built(source: Path, folder: Path) -> str:
        (folder / "_build" / "html").mkdir(parents=True)
        (folder / "_build" / "html" / "index.html").write_text("new")
        return ""

    def interrupted(*_: Path) -> None:
        raise KeyboardInterrupt

    steps = {"gather": lambda source: None, "build": built, "faults": lambda html: ([], [])}
    steps |= {"dead link": {"faults": lambda html: (["a dead link"], [])}}.get(
        step, {step: interrupted} if step else {}
    )
    for name, what in steps.items():
        monkeypatch.setattr(site, name, what)
    monkeypatch.setattr(site, "ROOT", tmp_path)
    monkeypatch.setattr(site, "SITE", tmp_path / ".site")
    monkeypatch.setattr(site, "pages", list)
    index = tmp_path / ".site" / "_build" / "html" / "index.html"
    index.parent.mkdir(parents=True)
    index.write_text("old")
    assert site.main() == code
    assert capsys.readouterr().err.count("\n") == (code == 130)
    assert index.read_text() == left
    assert [path.name for path in (tmp_path / ".site").iterdir()] == ["_build"]


def test_a_broken_link_a_missing_anchor_and_a_machine_path_are_found(tmp_path: Path) -> None:
    (tmp_path / "b.html").write_text('<h2 id="here">b</h2>')
    good = '<a href="b.html#here">b</a> <img src="b.html"> <a href="#">top</a> <a href="https://example.org/x">x</a>'
    (tmp_path / "a.html").write_text(good)
    assert site.faults(tmp_path) == ([], ["https://example.org/x"])
    (tmp_path / "a.html").write_text('<a href="b.html#gone">b</a> <img src="c%20d.png"> /' + "home/someone/x")
    assert site.faults(tmp_path)[0] == [
        "a.html refers to b.html#gone, which has no such anchor",
        "a.html refers to c%20d.png, which does not exist",
        "a.html names a path or the host of this machine",
    ]
