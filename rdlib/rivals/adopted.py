"""A network that was trained elsewhere: a method that nothing here can train."""

from rdlib.errors import ConfigError
from rdlib.methods import Supervised
from rdlib.models import StagedResNet


class Adopted(Supervised):
    """A network trained elsewhere, which nothing here can train; `weights` is its file's SHA-256, twelve digits."""

    def __init__(self, student: StagedResNet, *, weights: str = ""):
        raise ConfigError(
            f"this network was adopted from a file (SHA-256 {weights}...), not trained here: "
            "adopt that file again with `python -m rdlib adopt FILE`"
        )
