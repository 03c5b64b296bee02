from ffabric.guests.partition import Partition


class Adder(Partition):
    uuid = "5a7c6d2e-5f4b-4a8e-9a55-3f9c1f0a7b11"

    async def on_direct_request(self, request, ffa):
        a, b, *_ = request.payload
        return request.respond(a + b)


def test_the_first_example_of_the_documentation(ffabric):
    system = ffabric.boot(sps=[Adder()], vms=["client"])
    client = system.vm("client").ffa
    assert client.direct_request(Adder, 2, 3).payload[0] == 5
    with ffabric.refuses("mem.share.unaligned_base"):
        client.share(ipa=0x1001, pages=1, to=Adder)
