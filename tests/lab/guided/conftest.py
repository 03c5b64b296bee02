"""Systems of a user whose partitions have faults."""

import pytest

PARTITIONS = """
from ffabric import FfaError, Partition


class Vault(Partition):
    def __init__(self):
        super().__init__()
        self.open = False

    async def on_boot(self, ffa):
        await ffa.map_buffers()

    async def on_direct_request(self, request, ffa):
        op, value, *_ = request.payload
        if op == 0xBE:
            self.open = True
        elif op == 2 and self.open and value == 0xC0DE:
            raise RuntimeError("opened by force")
        return request.respond(0)


class Reader(Partition):
    async def on_boot(self, ffa):
        await ffa.map_buffers()

    async def on_direct_request(self, request, ffa):
        handle, *_ = request.payload
        try:
            got = await ffa.retrieve(handle, request.sender)
        except FfaError:
            return request.respond(1)
        if ffa.memory.read(got.ipa, 4) == b"BOOM":
            raise ValueError("what a word")
        await ffa.relinquish(handle)
        return request.respond(0)


class Spinner(Partition):
    async def on_direct_request(self, request, ffa):
        while request.payload[0] == 7:
            pass
        return request.respond(0)


class Silent(Partition):
    async def on_direct_request(self, request, ffa):
        while request.payload[0] == 7:
            await ffa.idle()
        return request.respond(0)


class Careless(Partition):
    async def on_direct_request(self, request, ffa):
        return request.respond(request.payload.index(request.payload[3] + 1))


class Careful(Partition):
    async def on_direct_request(self, request, ffa):
        return request.respond(*request.payload[:2])


class Client(Partition):
    pass
"""


@pytest.fixture
def system_file(tmp_path):
    """Writes the file of a system: an SP of a class above, and a VM that asks it."""

    def write(*classes):
        (tmp_path / "partitions.py").write_text(PARTITIONS)
        lines = ['name = "mine"']
        for name in classes:
            lines += ["[[sp]]", f'name = "{name.lower()}"', f'python = "partitions.py:{name}"']
        lines += ["[[vm]]", 'name = "client"', 'python = "partitions.py:Client"']
        file = tmp_path / "mine.toml"
        file.write_text("\n".join(lines))
        return file

    return write
