"""What to say when an optional dependency is not installed."""

from __future__ import annotations


class MissingExtra(RuntimeError):  # noqa: N818 - what is missing is the message
    """A feature needs a package that is not installed; the message is the command that helps."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'ffabric[{extra}]'")
        self.package = package
        self.extra = extra
