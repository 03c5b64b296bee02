"""GPIO lines: directions, values, names, and interrupts that are enabled and unmasked."""

import pytest
from device_trials import MODES, run

from ffabric.abi.virtio import gpio as abi
from ffabric.abi.virtio.gpio import Direction, Irq, Type
from ffabric.virtio import devices, drivers

NAMES = ("MMC-CD", "", "", "Red LED Vdd")


@MODES
def test_lines_are_read_and_driven(ffabric, how):
    driven = []
    gpio = devices.GpioDevice(NAMES, lambda line, value: driven.append((line, value)))

    async def work(bus):
        driver = await drivers.GpioDriver.probe(bus.devices[0])
        assert (driver.count, driver.names) == (4, NAMES)
        assert await driver.direction(3) is Direction.NONE
        await driver.set_output(3, 1)
        await driver.set(3, 0)
        assert await driver.direction(3) is Direction.OUT
        await driver.set_input(0)
        gpio.drive(0, 1)
        assert await driver.get(0) == 1
        gpio.drive(0, 0)
        assert await driver.get(0) == 0
        await driver.release(3)
        await driver.remove()

    run(ffabric, [gpio], work, **how)
    assert driven == [(3, 1), (3, 0)]
    assert {line.direction for line in gpio.lines} == {Direction.NONE}


@MODES
def test_an_edge_is_latched_until_its_interrupt_is_unmasked(ffabric, how):
    gpio = devices.GpioDevice(NAMES)

    async def work(bus):
        driver = await drivers.GpioDriver.probe(bus.devices[0])
        await driver.set_input(1)
        gpio.drive(1, 1)  # nobody listens yet
        await driver.enable(1, Irq.FALLING)
        gpio.drive(1, 0)
        gpio.drive(1, 1)
        await driver.wait_for(1)
        await driver.unmask(1)
        gpio.drive(1, 1)  # no edge
        gpio.drive(1, 0)
        await driver.wait_for(1)
        await driver.disable(1)
        with pytest.raises(drivers.GpioError, match="interrupt of line 1 is not enabled"):
            await driver.wait_for(1)

    run(ffabric, [gpio], work, **how)


@pytest.mark.parametrize(
    ("irq", "levels", "comes"),
    [
        (Irq.RISING, (1,), True),
        (Irq.RISING, (1, 0), True),
        (Irq.FALLING, (1,), False),
        (Irq.FALLING, (1, 0), True),
        (Irq.BOTH, (1,), True),
        (Irq.HIGH, (1,), True),
        (Irq.HIGH, (1, 0), False),
        (Irq.LOW, (), True),
        (Irq.LOW, (1,), False),
        (Irq.LOW, (1, 0), True),
    ],
)
def test_what_raises_an_interrupt(ffabric, irq, levels, comes):
    gpio = devices.GpioDevice(NAMES)

    async def work(bus):
        driver = await drivers.GpioDriver.probe(bus.devices[0])
        await driver.set_input(2)
        await driver.enable(2, irq)
        for level in levels:
            gpio.drive(2, level)
        await driver.unmask(2)
        await bus.poll()
        assert (gpio.lines[2].buffer is None) == comes
        if comes:
            await driver.wait_for(2)
        else:
            await driver.disable(2)

    run(ffabric, [gpio], work)


def test_a_level_interrupts_again_when_it_is_unmasked_again(ffabric):
    gpio = devices.GpioDevice(NAMES)

    async def work(bus):
        driver = await drivers.GpioDriver.probe(bus.devices[0])
        await driver.set_input(2)
        await driver.enable(2, Irq.HIGH)
        gpio.drive(2, 1)
        for _ in range(100):
            await driver.wait_for(2)
        gpio.drive(2, 0)
        await driver.unmask(2)
        assert gpio.lines[2].buffer is not None

    run(ffabric, [gpio], work)


@pytest.mark.parametrize(
    ("requests", "refused"),
    [
        ([(Type.SET_DIRECTION, 0, 3)], True),
        ([(Type.SET_DIRECTION, 0, 2)], False),
        ([(Type.SET_VALUE, 0, 2)], True),
        ([(Type.SET_DIRECTION, 0, 1), (Type.SET_VALUE, 0, 1)], False),
        ([(Type.SET_DIRECTION, 0, 2), (Type.SET_VALUE, 0, 1)], True),
        ([(Type.SET_IRQ_TYPE, 0, 1)], True),
        ([(Type.SET_DIRECTION, 0, 1), (Type.SET_IRQ_TYPE, 0, 1)], True),
        ([(Type.SET_DIRECTION, 0, 2), (Type.SET_IRQ_TYPE, 0, 1)], False),
        ([(Type.SET_DIRECTION, 0, 2), (Type.SET_IRQ_TYPE, 0, 5)], True),
        (
            [
                (Type.SET_DIRECTION, 0, 2),
                (Type.SET_IRQ_TYPE, 0, 1),
                (Type.SET_IRQ_TYPE, 0, 2),
            ],
            True,
        ),
        (
            [
                (Type.SET_DIRECTION, 0, 2),
                (Type.SET_IRQ_TYPE, 0, 1),
                (Type.SET_DIRECTION, 0, 1),
            ],
            True,
        ),
        ([(Type.GET_VALUE, 3, 0)], False),
        ([(Type.GET_VALUE, 4, 0)], True),
        ([(Type.GET_VALUE, 0xFFFF, 0)], True),
    ],
)
def test_requests_that_are_refused_and_their_neighbours(ffabric, requests, refused):
    gpio = devices.GpioDevice(NAMES)

    async def work(bus):
        driver = await drivers.GpioDriver.probe(bus.devices[0])
        *before, last = requests
        for request in before:
            await driver._request(*request)
        if refused:
            with pytest.raises(drivers.GpioError, match="refused"):
                await driver._request(*last)
        else:
            await driver._request(*last)

    run(ffabric, [gpio], work)


class WithoutInterrupts(drivers.GpioDriver):
    """Does not know of the event queue."""

    features = 0


def test_without_interrupts_there_is_one_virtqueue(ffabric):
    async def work(bus):
        driver = await WithoutInterrupts.probe(bus.devices[0])
        assert len(driver.queues) == 1
        await driver.set_input(0)
        with pytest.raises(drivers.GpioError, match="SET_IRQ_TYPE of line 0: refused"):
            await driver.enable(0, Irq.HIGH)
        await driver.remove()

    run(ffabric, [devices.GpioDevice(NAMES)], work)


def test_lines_without_any_name_have_no_names_to_read(ffabric):
    async def work(bus):
        driver = await drivers.GpioDriver.probe(bus.devices[0])
        assert driver.names == ("", "")
        with pytest.raises(drivers.GpioError, match="GET_LINE_NAMES"):
            await driver._request(Type.GET_LINE_NAMES, 0, 0, 2)

    run(ffabric, [devices.GpioDevice(["", ""])], work)


@pytest.mark.parametrize("request_", [b"", bytes(7), bytes(9), b"\xff" * 8])
def test_bytes_that_are_no_request_are_an_error(ffabric, request_):
    async def work(bus):
        driver = await drivers.GpioDriver.probe(bus.devices[0])
        page = await driver.allocate(4096)
        driver.device.memory.write(page.ipa, request_)
        readable = [(page.address, len(request_), False)] if request_ else []
        assert await driver.request(0, [*readable, (page.address + 64, 2, True)]) == 2
        assert driver.device.memory.read(page.ipa + 64, 2) == b"\1\0"
        number = await driver.submit(abi.EVENT, [*readable, (page.address + 64, 1, True)])
        await driver.finish(abi.EVENT, number)
        assert driver.device.memory.read(page.ipa + 64, 1) == b"\0"

    run(ffabric, [devices.GpioDevice(NAMES)], work)


@pytest.mark.parametrize("lines", [0, 0x10000])
def test_a_controller_has_some_lines_and_not_too_many(lines):
    with pytest.raises(ValueError, match=f"a controller has 1 to 65535 lines, not {lines}"):
        devices.GpioDevice(("",) * lines)
    assert len(devices.GpioDevice(("",) * 0xFFFF).lines) == 0xFFFF


def test_an_output_stays_as_its_driver_has_it(ffabric):
    gpio = devices.GpioDevice(NAMES)

    async def work(bus):
        driver = await drivers.GpioDriver.probe(bus.devices[0])
        await driver.set_output(3, 1)
        gpio.drive(3, 0)
        assert await driver.get(3) == 1
        await driver.set_input(3)
        gpio.drive(3, 0)
        assert await driver.get(3) == 0

    run(ffabric, [gpio], work)


def test_buffers_of_an_event_queue_that_is_reset_are_the_drivers_again(ffabric):
    gpio = devices.GpioDevice(NAMES)

    async def work(bus):
        driver = await drivers.GpioDriver.probe(bus.devices[0])
        await driver.set_input(1)
        await driver.enable(1, Irq.RISING)
        await driver.unmask(1)
        assert gpio.lines[1].buffer is not None
        await driver.restart_queue(abi.EVENT)
        assert gpio.lines[1].buffer is None
        gpio.drive(1, 1)  # nobody has a buffer for it

    run(ffabric, [gpio], work)
