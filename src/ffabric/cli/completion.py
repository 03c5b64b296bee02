"""``ffabric completion``: let a shell complete ffabric's command lines."""

from __future__ import annotations

from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish"]) -> int:
    """Print what a shell needs to complete commands, options and file names.

    For bash, ``eval "$(ffabric completion bash)"`` in ``~/.bashrc``; for zsh, the output is a file
    ``_ffabric`` in a folder of ``$fpath``; for fish, one in ``~/.config/fish/completions``.

    Parameters
    ----------
    shell
        The shell: bash, zsh or fish.
    """
    from ffabric.cli.main import COMMANDS, parser  # noqa: PLC0415 - it imports this one

    print(parser(COMMANDS).generate_completion(prog_name="ffabric", shell=shell))
    return 0
