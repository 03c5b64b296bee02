"""How much RAM an operating system's kernel needs before it runs.

Source: Linux Documentation/arch/arm64/booting.rst (image header).
"""

from __future__ import annotations

import struct

from ffabric.abi.words import PAGE, pages_for
from ffabric.system.layout.placement import BLOCK
from ffabric.system.spec import ImageSource, KernelBoot

_MAGIC_AT, _MAGIC = 56, b"ARM\x64"
_IMAGE_SIZE = struct.Struct("<Q")
_IMAGE_SIZE_AT = 16


def image_size(image: bytes) -> int:
    """The memory that a raw kernel image takes, zeros included; its length if it does not say."""
    if image[_MAGIC_AT : _MAGIC_AT + 4] != _MAGIC:
        return len(image)
    return max(len(image), int(_IMAGE_SIZE.unpack_from(image, _IMAGE_SIZE_AT)[0]))


def room(source: ImageSource, boot: KernelBoot) -> int:
    """The least RAM in bytes: the image, the initial files and the devicetree."""
    image = source.image
    whole = max(part.offset + image_size(part.data) for part in image.parts)
    return pages_for(max(whole, image.end)) * PAGE + pages_for(len(boot.initrd)) * PAGE + BLOCK
