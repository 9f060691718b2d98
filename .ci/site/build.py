"""Build the site of the executed notebooks into .site/: gather what it shows, run Jupyter Book, check every link."""

import re
import shutil
import socket
import subprocess
import sys
from html.parser import HTMLParser
from os.path import relpath
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SITE = ROOT / ".site"  # git-ignored
INTERRUPTED = 130
LINK = re.compile(r"\]\(([^)\s]+)\)")
PICTURE = re.compile(r'<picture>(?:(?!</picture>).)*?<img src="([^"]+)" alt="([^"]*)">\s*</picture>', re.DOTALL)
NAME = re.compile(r"(?<!\[)`(\d\d_\w+)`")
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(?:home|root|tmp|work|Users|opt)/[\w.]")
BAR = re.compile(r"\d+%\|")


def pages() -> list[Path]:
    """The pages of _toc.yml in their order, relative to the repository, the landing page first."""
    toc = yaml.safe_load((HERE / "_toc.yml").read_text())
    names = [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]
    return [Path(name).with_suffix(".ipynb" if (ROOT / f"{name}.ipynb").exists() else ".md") for name in names]


def prose(page: Path) -> str:
    """The Markdown of a page, with Markdown's own picture where a README has HTML's, which Sphinx would not copy."""
    if page.suffix == ".md":
        return PICTURE.sub(r"![\2](\1)", (ROOT / page).read_text())
    return "\n\n".join(cell.source for cell in nbformat.read(ROOT / page, 4).cells if cell.cell_type == "markdown")


def linked(page: Path) -> set[Path]:
    """The files of the repository that a page links to or shows, relative to the repository."""
    targets = [urlsplit(target) for target in LINK.findall(prose(page))]
    inside = [unquote(target.path) for target in targets if not target.scheme and target.path]
    return {Path(relpath(ROOT / page.parent / target, ROOT)) for target in inside}


def named(markdown: str, page: Path) -> str:
    """The notebooks that a page names in backticks, `02_table3_accuracy`, become links."""
    there = {other.stem: relpath(other, page.parent) for other in pages() if other.suffix == ".ipynb"}
    return NAME.sub(lambda m: f"[{m[0]}]({there[m[1]]})" if m[1] in there else m[0], markdown)


def gather(source: Path) -> None:
    """Copy every page, what the pages link to, and the configuration into an empty folder."""
    for file in {file for page in pages() for file in (page, *linked(page))}:
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, source / file)
    for page in pages():
        if page.suffix == ".md":
            (source / page).write_text(named(prose(page), page))
            continue
        notebook = nbformat.read(ROOT / page, 4)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = named(cell.source, page)
            else:  # a progress bar's text in the file is that of its first moment: it would mislead
                cell.outputs = [o for o in cell.outputs if not BAR.search(o.get("data", {}).get("text/plain", ""))]
        nbformat.write(notebook, source / page)
    shutil.copytree(HERE, source, dirs_exist_ok=True, ignore=shutil.ignore_patterns("build.py", "__pycache__"))


def betrays(text: str) -> bool:
    """Whether a text names a path or the host of the machine it was made on."""
    host = socket.gethostname()
    return bool(MACHINE_PATH.search(text)) or (len(host) > 3 and host in text)


class Page(HTMLParser):
    """The anchors of a built page, and what it refers to."""

    def __init__(self, file: Path):
        super().__init__()
        self.anchors, self.references = {""}, set[str]()
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value and tag != "meta":
                self.anchors.add(value)
            if name in ("href", "src") and value:
                self.references.add(value)


def faults(html: Path) -> tuple[list[str], list[str]]:
    """A sentence for every link of a built site that leads nowhere and every page that betrays the machine it was
    built on; and the addresses outside, which are not fetched."""
    built = {file.resolve(): Page(file) for file in sorted(html.rglob("*.html")) if "_static" not in file.parts}
    wrong, outside = [], set()
    for file, page in built.items():
        name = file.relative_to(html.resolve())
        for reference in sorted(page.references):
            target = urlsplit(reference)
            if target.scheme or target.netloc:
                outside.add(reference)
                continue
            path = (file.parent / unquote(target.path)).resolve() if target.path else file
            if not path.is_file():
                wrong.append(f"{name} refers to {reference}, which does not exist")
            elif path in built and unquote(target.fragment) not in built[path].anchors:
                wrong.append(f"{name} refers to {reference}, which has no such anchor")
        if betrays(file.read_text()):
            wrong.append(f"{name} names a path or the host of this machine")
    return wrong, sorted(outside)


def build(source: Path, site: Path) -> str:
    """Run Jupyter Book, its warnings as errors, into `site`/_build/html; what it complains of, or nothing."""
    book = Path(sys.executable).with_name("jupyter-book")
    if not book.exists():
        return "Jupyter Book is not installed here: `make site` installs it"
    command = [book, "build", "-W", "--keep-going", "--quiet", "--path-output", site, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{done.stdout}\n{done.stderr}\nthe site could not be built: see above" if done.returncode else ""


def renew() -> int:
    """Build the site beside the one that is there, say what is wrong with it, and put it in its place if nothing is."""
    new, old, html = SITE / "new", SITE / "old", SITE / "_build" / "html"
    shutil.rmtree(new, ignore_errors=True)
    gather(new / "source")
    complaint = build(new / "source", new)
    if complaint:
        print(complaint, file=sys.stderr)
        return 1
    wrong, outside = faults(new / "_build" / "html")
    print(*(f"leads outside: {address}" for address in outside), *wrong, sep="\n")
    if wrong:
        return 1
    if html.parent.exists():
        html.parent.rename(old)
    (new / "_build").rename(html.parent)
    print(f"{len(pages())} pages, no broken link: open {(html / 'index.html').relative_to(ROOT)}")
    return 0


def main() -> int:
    try:
        return renew()
    except KeyboardInterrupt:
        print("interrupted: a whole site that was there is kept; run the same command again", file=sys.stderr)
        return INTERRUPTED
    finally:
        for rest in ("new", "old"):
            shutil.rmtree(SITE / rest, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
