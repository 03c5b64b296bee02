"""How much RAM a kernel needs."""

import struct

from ffabric.system.files.images import parse_image
from ffabric.system.layout.kernel import image_size, room
from ffabric.system.spec import ImageSource, KernelBoot

CODE = bytes(range(64)) * 4


def image(size):
    """A raw kernel image that takes `size` bytes of memory."""
    head = bytearray(64)
    struct.pack_into("<Q", head, 16, size)
    head[56:60] = b"ARM\x64"
    return bytes(head)


def test_an_image_takes_what_its_header_says():
    assert image_size(image(0x250_0000)) == 0x250_0000
    assert image_size(CODE) == len(CODE)


def test_room_is_for_image_files_and_devicetree():
    source = ImageSource("vmlinuz", parse_image(image(0x250_0000)))
    assert room(source, KernelBoot(b"i" * 4097)) == 0x250_0000 + 0x2000 + 0x20_0000
