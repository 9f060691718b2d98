"""Let the notebooks that people take away from a checkout say what to install where rdlib is not: rewrite their cell.

From where: `[project.urls] Repository` of pyproject.toml, the one place for the address; a test compares.
"""

import json
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TAKEN = ("00_start_here", "01_joint_training_by_hand", "12_explorer")
BEGIN, END = "from importlib.util import find_spec\n", "    raise missing\n\n"
# Installed editable, for then the whole repository comes along, and with it the records that the notebooks read.
PUBLIC = ("In a new cell, run", '%pip install -e "git+{address}#egg=rdlib"')
PRIVATE = ("In the checkout that it comes from, run with this kernel's Python", "python -m pip install -e .")


def opening(address: str | None) -> str:
    """How the versions cell begins. address: of the repository, None while it has no public one."""
    where, command = PUBLIC if address else PRIVATE
    told = f"    {command.format(address=address)}\nthen restart the kernel and run all cells."
    return f"""{BEGIN}
if find_spec("rdlib") is None:  # this notebook is alone, as on Colab
    missing = ModuleNotFoundError(
        "This notebook needs rdlib. {where}\\n"
        {told!r}
    )
    missing._render_traceback_ = lambda: [str(missing)]
{END}"""


def published_at() -> str | None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    address: str | None = project.get("urls", {}).get("Repository")
    return address


def put(notebook: Path, address: str | None) -> None:
    """The first code cell begins so; the rest of it, and all outputs, stay."""
    content = json.loads(notebook.read_text())
    cell = next(cell for cell in content["cells"] if cell["cell_type"] == "code")
    source = "".join(cell["source"])
    rest = source.partition(END)[2] if source.startswith(BEGIN) else source
    cell["source"] = (opening(address) + rest).splitlines(keepends=True)
    notebook.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    for name in TAKEN:
        put(ROOT / "notebooks" / f"{name}.ipynb", published_at())
