"""An instruction in words, for whoever reads why a vCPU crashed."""

from __future__ import annotations


def instruction(word: int, pc: int) -> str:
    """The assembly text of ``word`` at ``pc``; its number if it is no instruction."""
    from capstone import CS_ARCH_ARM64, CS_MODE_ARM, Cs  # noqa: PLC0415 - only a crash needs it

    for _, _, mnemonic, operands in Cs(CS_ARCH_ARM64, CS_MODE_ARM).disasm_lite(
        word.to_bytes(4, "little"), pc
    ):
        return f"{mnemonic} {operands}".rstrip()
    return f"{word:#010x}"
