"""The clauses that bind a device side."""

from __future__ import annotations

from typing import Final

from ffabric.abi.virtio_msg.generations import PR28, V2
from ffabric.lab.virtio_msg.judges.rules import FFA_BUS, LINUX_2025, TRANSPORT, VIRTIO, Side, rule

_D: Final = Side.DEVICE

# Answers.

ANSWERS = rule(
    _D,
    "device.answer.to_request",
    f"{TRANSPORT}, l. 519",
    "A response has the device and the token of a request that has none yet.",
    rfc2="l. 787",
)
ANSWERED = rule(
    _D,
    "device.answer.every_request",
    f"{TRANSPORT}, l. 519",
    "Every request gets exactly one response.",
    rfc2="l. 787",
)
SAME = rule(
    _D,
    "device.answer.same_id",
    f"{TRANSPORT}, common message format",
    "A response has the id of its request, or is ERROR.",
    rfc2="l. 313",
)
EVENT_UNANSWERED = rule(
    _D,
    "device.answer.no_event",
    f"{TRANSPORT}, l. 378",
    "An event is never answered, neither with a response nor with ERROR.",
)
MALFORMED = rule(
    _D,
    "device.answer.malformed",
    f"{TRANSPORT}, l. 375; {FFA_BUS}, ERROR",
    "What is malformed or has an unknown id is answered with ERROR or not at all.",
)
ERROR_NAMES = rule(
    _D,
    "device.error.names",
    f"{FFA_BUS}, ERROR",
    "ERROR has the id of the request that it answers.",
)
BEFORE_AGREEMENT = rule(
    _D,
    "device.bus.before_agreement",
    f"{FFA_BUS}, VERSION",
    "Before the versions are agreed on, all requests but VERSION and RESET get ERROR.",
)

# The bus.

VERSION_ECHO = rule(
    _D,
    "device.bus.version.answer",
    f"{FFA_BUS}, VERSION",
    "VERSION is answered with the versions that were asked for, with the device side's own ones if"
    " it was probed or asked for higher ones, or with zeros.",
    rfc2=LINUX_2025,
)
VERSION_KEPT = rule(
    _D,
    "device.bus.version.agreed",
    f"{FFA_BUS}, VERSION",
    "After an agreement other versions are answered with zeros.",
)
RESULT = rule(
    _D,
    "device.bus.result",
    f"{FFA_BUS}, results",
    "A result is OK, ERROR or BUSY.",
    rfc2=LINUX_2025,
)
AREA_ECHO = rule(
    _D,
    "device.bus.area.number",
    f"{FFA_BUS}, AREA_SHARE, AREA_UNSHARE",
    "Answers about areas have the number of the area.",
    rfc2=LINUX_2025,
)
AREA_REFUSED = rule(
    _D,
    "device.bus.area_share.refused",
    f"{FFA_BUS}, AREA_SHARE",
    "An area whose number is 0, above max_areas or in use, that has no pages, or whose attributes"
    " cannot be, is not accepted.",
    rfc2=LINUX_2025,
)
UNSHARE_REFUSED = rule(
    _D,
    "device.bus.area_unshare.refused",
    f"{FFA_BUS}, AREA_UNSHARE",
    "AREA_UNSHARE of what is no area does not succeed.",
    rfc2=LINUX_2025,
)
CONFIGURE_AGAIN = rule(
    _D,
    "device.bus.event_configure.once",
    f"{FFA_BUS}, EVENT_CONFIGURE",
    "A second EVENT_CONFIGURE does not succeed.",
)
CONFIGURE_REFUSED = rule(
    _D,
    "device.bus.event_configure.refused",
    f"{FFA_BUS}, EVENT_CONFIGURE",
    "A method that the features of the device side do not have, or a notification above 63, is not"
    " accepted.",
)
WINDOW_ECHO = rule(
    _D,
    "device.bus.get_devices.window",
    f"{TRANSPORT}, GET_DEVICES",
    "The answer to GET_DEVICES begins where it was asked to, and has no more than was asked for, in"
    " multiples of 8.",
    rfc2="l. 1138",
)
WINDOW_NEXT = rule(
    _D,
    "device.bus.get_devices.next",
    f"{TRANSPORT}, GET_DEVICES; Linux 2026",
    "next_offset is 0, or a multiple of 8 that is not inside of the answer.",
    rfc2="l. 1139",
)
PING_ECHO = rule(
    _D,
    "device.bus.ping.echo",
    f"{TRANSPORT}, PING",
    "PING is answered with its own data.",
    rfc2="l. 1187",
)
DEVICE_EVENTS = rule(
    _D,
    "device.bus.event_device.changes",
    f"{TRANSPORT}, l. 935",
    "EVENT_DEVICE tells of a state that the device has not been said to be in.",
    rfc2="l. 1172",
)
RELEASE = rule(
    _D,
    "device.bus.area_release.known",
    f"{FFA_BUS}, EVENT_AREA_RELEASE",
    "EVENT_AREA_RELEASE names an area from 1 to max_areas.",
    rfc2=LINUX_2025,
)

# The devices.

INFO_SAME = rule(
    _D,
    "device.info.same",
    f"{TRANSPORT}, GET_DEVICE_INFO",
    "GET_DEVICE_INFO says the same as before, until the device is removed.",
    rfc2="l. 1228",
)
INFO_ID = rule(
    _D,
    "device.info.id",
    f"{VIRTIO}, 5",
    "The device id is not 0.",
    rfc2=VIRTIO,
)
INFO_FEATURES = rule(
    _D,
    "device.info.features",
    f"{TRANSPORT}, GET_DEVICE_INFO",
    "The number of feature bits is a multiple of 32.",
    rfc2="l. 806",
    until=PR28.number,
)
INFO_ADMIN = rule(
    _D,
    "device.info.admin",
    "Linux 2026, virtio_msg_protocol.h",
    "The administration virtqueues are virtqueues of the device.",
)
FEATURES_ECHO = rule(
    _D,
    "device.features.echo",
    f"{TRANSPORT}, GET_DEVICE_FEATURES",
    "The answer begins with the block that was asked for, and has no more blocks.",
    rfc2="l. 823",
)
FEATURES_SAME = rule(
    _D,
    "device.features.same",
    f"{TRANSPORT}, l. 646",
    "The device offers the same features whenever it is asked.",
    rfc2="l. 1231",
)
FEATURES_ZERO = rule(
    _D,
    "device.features.beyond",
    f"{TRANSPORT}, l. 357, l. 1095",
    "Blocks of features beyond those that the device has are zero.",
    rfc2="l. 229",
)
FEATURES_REFUSED = rule(
    _D,
    "device.features.refused",
    f"{TRANSPORT}, l. 1132-1136",
    "FEATURES_OK stays clear if features were chosen that are not offered.",
    rfc2="l. 853",
)
STATUS_RESET = rule(
    _D,
    "device.status.reset",
    f"{TRANSPORT}, l. 732, l. 917",
    "After status 0 was written the status reads 0, or what it was while the reset goes on.",
    rfc2="l. 1240",
)
STATUS_SET = rule(
    _D,
    "device.status.set",
    f"{TRANSPORT}, SET_DEVICE_STATUS",
    "The status has no bit that the driver has not set, but NEEDS_RESET.",
    rfc2="l. 929",
)
STATUS_SAME = rule(
    _D,
    "device.status.same",
    f"{TRANSPORT}, GET_DEVICE_STATUS",
    "The status reads as it was last told, but for NEEDS_RESET.",
    rfc2="l. 916",
)
CONFIG_ECHO = rule(
    _D,
    "device.config.echo",
    f"{TRANSPORT}, GET_CONFIG",
    "GET_CONFIG is answered with the bytes that were asked for, or with none.",
    rfc2="l. 858",
)
CONFIG_BOUND = rule(
    _D,
    "device.config.bound",
    f"{TRANSPORT}, l. 1161",
    "Nothing is told or taken outside of config_size.",
    rfc2="l. 1228",
)
CONFIG_NOT_ZERO = rule(
    _D,
    "device.config.generation_not_zero",
    f"{TRANSPORT}, l. 305-308",
    "The configuration generation is not 0.",
)
CONFIG_FORWARD = rule(
    _D,
    "device.config.generation_forward",
    f"{TRANSPORT}, l. 305-308",
    "The configuration generation does not go back, not with a reset either.",
    rfc2="l. 197",
)
CONFIG_CHANGES = rule(
    _D,
    "device.config.generation_changes",
    f"{TRANSPORT}, l. 312",
    "The configuration has the same bytes as long as it has the same generation.",
    rfc2="l. 186",
)
CONFIG_EVENT = rule(
    _D,
    "device.config.event_generation",
    f"{TRANSPORT}, l. 313",
    "Every EVENT_CONFIG with data has a generation of its own.",
    rfc2="l. 193",
)
CONFIG_STALE = rule(
    _D,
    "device.config.stale",
    f"{TRANSPORT}, l. 321, l. 1204",
    "SET_CONFIG with an old generation is rejected, with length 0.",
    rfc2="l. 201",
    until=PR28.number,
)
CONFIG_COALESCED = rule(
    _D,
    "device.config.coalesced",
    "virtio-msg v2, STRICT_CONFIG_GENERATION",
    "Without STRICT_CONFIG_GENERATION a write that was taken once is taken again, whatever has"
    " changed meanwhile.",
    since=V2.number,
)
CONFIG_LENGTH = rule(
    _D,
    "device.config.length",
    f"{TRANSPORT}, l. 1204",
    "SET_CONFIG is answered with its own offset, and its length or 0.",
    rfc2="l. 891",
)
QUEUE_NONE = rule(
    _D,
    "device.queue.none",
    f"{TRANSPORT}, GET_VQUEUE",
    "GET_VQUEUE has the index that was asked for, and largest size 0 from max_virtqueues on.",
    rfc2="l. 955",
)
QUEUE_TOLD = rule(
    _D,
    "device.queue.told",
    f"{TRANSPORT}, l. 1287, l. 1317",
    "GET_VQUEUE tells what SET_VQUEUE has said; size and addresses are 0 before that.",
    rfc2="l. 1237",
)
QUEUE_MAXIMUM = rule(
    _D,
    "device.queue.maximum",
    "Linux 2026",
    "The size of a virtqueue is not above its largest size, which does not change.",
    rfc2="l. 946",
)
QUEUE_FLAGS = rule(
    _D,
    "device.queue.flags",
    "Linux 2026, virtio_msg_protocol.h",
    "The flags of GET_VQUEUE are 1 for a virtqueue that is set up, 0 for another.",
    since=V2.number,
)
QUEUE_REFUSED = rule(
    _D,
    "device.queue.refused",
    f"{TRANSPORT}, l. 1317, l. 1354",
    "SET_VQUEUE fails for an index or a size that cannot be, and for a virtqueue that is set up.",
)
QUEUE_AGAIN = rule(
    _D,
    "device.queue.again",
    f"{TRANSPORT}, l. 1354",
    "After RESET_VQUEUE, SET_VQUEUE succeeds again.",
    rfc2="l. 675",
)
USED_RUNNING = rule(
    _D,
    "device.used.running",
    f"{TRANSPORT}, l. 760",
    "EVENT_USED comes from a device whose status has DRIVER_OK.",
    rfc2=VIRTIO,
)
USED_QUEUE = rule(
    _D,
    "device.used.queue",
    f"{TRANSPORT}, EVENT_USED",
    "EVENT_USED names a virtqueue that is set up.",
    rfc2="l. 1064",
)
