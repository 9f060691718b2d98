"""The scripts of `.ci`, which are in no package, as modules."""

import importlib.util
from types import ModuleType

from rdlib.files import ROOT


def script(name: str) -> ModuleType:
    """`.ci/NAME.py`; name without its ending, e.g. "site/build"."""
    spec = importlib.util.spec_from_file_location(name.replace("/", "_"), ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
