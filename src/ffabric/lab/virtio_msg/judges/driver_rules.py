"""The clauses that bind a driver side."""

from __future__ import annotations

from typing import Final

from ffabric.abi.virtio_msg.generations import PR28, V2
from ffabric.lab.virtio_msg.judges.rules import FFA_BUS, LINUX_2025, TRANSPORT, VIRTIO, Side, rule

_D: Final = Side.DRIVER

# The bus.

VERSION_FIRST = rule(
    _D,
    "driver.bus.version_first",
    f"{FFA_BUS}, VERSION",
    "Before the versions are agreed on, only VERSION and RESET are sent.",
    rfc2=LINUX_2025,
)
TOKEN = rule(
    _D,
    "driver.bus.token",
    f"{TRANSPORT}, l. 516",
    "No two requests that have no response yet have the same device and token.",
)
EVENT_TOKEN = rule(
    _D,
    "driver.bus.request_token",
    "Linux 2026, virtio_msg_protocol.h",
    "The token of a request is not 0, which is that of events.",
)
WINDOW = rule(
    _D,
    "driver.bus.get_devices.window",
    f"{TRANSPORT}, GET_DEVICES",
    "Offset and count of GET_DEVICES are multiples of 8, and count is not 0.",
    rfc2="l. 1138",
)
CONFIGURE_METHOD = rule(
    _D,
    "driver.bus.event_configure.method",
    f"{FFA_BUS}, EVENT_CONFIGURE",
    "The method of EVENT_CONFIGURE is one that the device side's features have.",
)
CONFIGURE_NUMBER = rule(
    _D,
    "driver.bus.event_configure.notification",
    f"{FFA_BUS}, EVENT_CONFIGURE",
    "The notification is one of 0 to 63.",
)
CONFIGURE_ONCE = rule(
    _D,
    "driver.bus.event_configure.once",
    f"{FFA_BUS}, EVENT_CONFIGURE",
    "EVENT_CONFIGURE succeeds once between two resets.",
)
AREA_NUMBER = rule(
    _D,
    "driver.bus.area_share.number",
    f"{FFA_BUS}, AREA_SHARE",
    "An area has a number from 1 to max_areas that no other area has.",
    rfc2=LINUX_2025,
)
AREA_SIZE = rule(
    _D,
    "driver.bus.area_share.pages",
    f"{FFA_BUS}, AREA_SHARE",
    "An area has at least one page.",
    rfc2=LINUX_2025,
)
AREA_ATTRIBUTES = rule(
    _D,
    "driver.bus.area_share.attributes",
    f"{FFA_BUS}, AREA_SHARE",
    "An area is shared or lent, writable, not executable, normal write-back shareable memory, and"
    " reserved attributes are zero.",
)
UNSHARE_KNOWN = rule(
    _D,
    "driver.bus.area_unshare.known",
    f"{FFA_BUS}, AREA_UNSHARE",
    "AREA_UNSHARE names an area that is shared.",
    rfc2=LINUX_2025,
)
UNSHARE_FREE = rule(
    _D,
    "driver.bus.area_unshare.unused",
    f"{FFA_BUS}, AREA_UNSHARE",
    "No virtqueue that is set up is in an area that is unshared.",
    rfc2=LINUX_2025,
)

# The devices.

REMOVED = rule(
    _D,
    "driver.removed",
    f"{TRANSPORT}, l. 1637",
    "Nothing is sent to a device after EVENT_DEVICE has said that it is removed.",
    rfc2="l. 373",
)
INFO_FIRST = rule(
    _D,
    "driver.info_first",
    f"{TRANSPORT}, l. 586, l. 612",
    "GET_DEVICE_INFO comes before features, configuration and virtqueues.",
    rfc2="l. 460",
)
STATUS_ORDER = rule(
    _D,
    "driver.status.order",
    f"{VIRTIO}, 3.1.1",
    "Status bits are set in the order ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK.",
    rfc2=VIRTIO,
)
STATUS_KEPT = rule(
    _D,
    "driver.status.kept",
    f"{VIRTIO}, 2.1.1",
    "No status bit is cleared but by writing 0.",
    rfc2=VIRTIO,
)
STATUS_BITS = rule(
    _D,
    "driver.status.bits",
    f"{VIRTIO}, 2.1",
    "Only bits that drivers have are set in the status.",
    rfc2=VIRTIO,
)
RESET_AWAITED = rule(
    _D,
    "driver.status.reset_awaited",
    f"{TRANSPORT}, l. 732",
    "After status 0 was written, nothing else is done before it reads 0.",
)
FEATURES_OFFERED = rule(
    _D,
    "driver.features.offered",
    f"{TRANSPORT}, l. 632",
    "Only features that the device offers are chosen.",
    rfc2="l. 495",
)
FEATURES_ONCE = rule(
    _D,
    "driver.features.before_ok",
    f"{VIRTIO}, 3.1.1",
    "Features are chosen before FEATURES_OK, not after.",
    rfc2=VIRTIO,
)
FEATURES_CHECKED = rule(
    _D,
    "driver.features.checked",
    f"{TRANSPORT}, l. 635",
    "If FEATURES_OK is not in the answer, the device is not brought up with these features.",
    rfc2="l. 500",
)
CONFIG_INSIDE = rule(
    _D,
    "driver.config.inside",
    f"{TRANSPORT}, l. 662, l. 1161",
    "The configuration is accessed inside of config_size.",
    rfc2="l. 1247",
)
CONFIG_GENERATION = rule(
    _D,
    "driver.config.generation",
    f"{TRANSPORT}, l. 327",
    "SET_CONFIG has the configuration generation that the device last told.",
    rfc2="l. 196",
    until=PR28.number,
)
CONFIG_ZERO = rule(
    _D,
    "driver.config.generation_zero",
    "virtio-msg v2, STRICT_CONFIG_GENERATION",
    "Without STRICT_CONFIG_GENERATION the generation in SET_CONFIG is 0.",
    since=V2.number,
)
QUEUE_INDEX = rule(
    _D,
    "driver.queue.index",
    f"{TRANSPORT}, l. 694",
    "SET_VQUEUE and RESET_VQUEUE name a virtqueue below max_virtqueues.",
    rfc2="l. 955",
)
QUEUE_SIZE = rule(
    _D,
    "driver.queue.size",
    f"{TRANSPORT}, l. 694, l. 1317; {VIRTIO}, 2.7",
    "The size of a virtqueue is a power of 2, and not above the largest that GET_VQUEUE tells.",
    rfc2="l. 559",
)
QUEUE_ALIGNED = rule(
    _D,
    "driver.queue.aligned",
    f"{TRANSPORT}, l. 694; {VIRTIO}, 2.7",
    "The three areas of a virtqueue are aligned to 16, 2 and 4 bytes.",
    rfc2=VIRTIO,
)
QUEUE_SHARED = rule(
    _D,
    "driver.queue.shared",
    f"{FFA_BUS}, addresses",
    "A virtqueue is in areas that are shared.",
    rfc2=LINUX_2025,
)
QUEUE_ONCE = rule(
    _D,
    "driver.queue.once",
    f"{TRANSPORT}, l. 1354",
    "A virtqueue that is set up is not set up again before it was reset.",
    rfc2="l. 675",
)
QUEUE_CONFIRMED = rule(
    _D,
    "driver.queue.confirmed",
    f"{TRANSPORT}, l. 592",
    "A virtqueue that was set up is looked at with GET_VQUEUE before DRIVER_OK.",
)
QUEUE_FLAGS = rule(
    _D,
    "driver.queue.flags",
    "Linux 2026, virtio_msg_protocol.h",
    "The flags of SET_VQUEUE are 1: enable.",
    since=V2.number,
)
QUEUE_FEATURES = rule(
    _D,
    "driver.queue.after_features",
    f"{VIRTIO}, 3.1.1",
    "Virtqueues are set up when FEATURES_OK is set.",
    rfc2=VIRTIO,
)
QUEUE_RESET = rule(
    _D,
    "driver.queue.reset_negotiated",
    f"{TRANSPORT}, l. 1354",
    "RESET_VQUEUE is sent if RING_RESET was negotiated.",
    rfc2="l. 982",
)
AVAIL_RUNNING = rule(
    _D,
    "driver.avail.running",
    f"{TRANSPORT}, l. 752",
    "EVENT_AVAIL is sent when the status has DRIVER_OK.",
    rfc2=VIRTIO,
)
AVAIL_QUEUE = rule(
    _D,
    "driver.avail.queue",
    f"{TRANSPORT}, l. 754",
    "EVENT_AVAIL names a virtqueue that is set up.",
    rfc2="l. 1253",
)
AVAIL_NEXT = rule(
    _D,
    "driver.avail.next",
    f"{TRANSPORT}, l. 785-790",
    "The second word of EVENT_AVAIL is 0 unless NOTIFICATION_DATA was negotiated.",
    rfc2="l. 615",
)
