"""Random numbers through the whole stack."""

from device_trials import MODES, run

from ffabric.virtio import devices, drivers


@MODES
def test_random_numbers_are_drawn_in_any_amount(ffabric, how):
    rng = devices.RngDevice(seed=7)
    drawn = []

    async def work(bus):
        driver = await drivers.RngDriver.probe(bus.devices[0])
        drawn.extend([await driver.read(count) for count in (0, 1, 4096, 10_000)])
        await driver.remove()

    run(ffabric, [rng], work, **how)
    assert [len(each) for each in drawn] == [0, 1, 4096, 10_000]
    assert rng.given == 14_097
    assert len(set(drawn[3])) == 256


def test_the_same_seed_gives_the_same_numbers_and_another_others(ffabric):
    drawn = []

    async def work(bus):
        for number in range(3):
            driver = await drivers.RngDriver.probe(bus.devices[number])
            drawn.append(await driver.read(32))

    run(ffabric, [devices.RngDevice(1), devices.RngDevice(1), devices.RngDevice(2)], work)
    assert drawn[0] == drawn[1] != drawn[2]


class Long(drivers.RngDriver):
    """Has room for long chains."""

    queue_size = 64


def test_a_buffer_larger_than_a_device_fills_is_filled_in_part(ffabric):
    async def work(bus):
        driver = await Long.probe(bus.devices[0])
        page = await driver.allocate(4096)
        one = (page.address, 4096, True)
        assert await driver.request(0, [one] * 32) == 1 << 16
        assert await driver.request(0, [one] * 15) == 15 << 12

    run(ffabric, [devices.RngDevice()], work)
