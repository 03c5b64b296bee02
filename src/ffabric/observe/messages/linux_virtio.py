"""Linux: the virtio core and rings, virtio-mmio, and the drivers of disks and network devices."""

from ffabric.observe.messages.message import messages

_SHORT = "The device's configuration is as the driver cannot use it."

VIRTIO = messages(
    "Linux virtio",
    (
        "device must provide VIRTIO_F_VERSION_1",
        "The device does not offer VIRTIO_F_VERSION_1, which its transport demands.",
    ),
    (
        "device must provide VIRTIO_F_ACCESS_PLATFORM",
        (
            "The kernel restricts what devices may access (a protected VM, or an IOMMU), and the "
            "device does not offer VIRTIO_F_ACCESS_PLATFORM."
        ),
    ),
    (
        "virtio: device refuses features: {features}",
        "The device took FEATURES_OK back: of what the driver accepted it wants other features.",
    ),
    (
        "virtio: device uses modern interface but does not have VIRTIO_F_VERSION_1",
        "The device does not offer VIRTIO_F_VERSION_1, though it is no legacy device.",
    ),
    (
        "virtio: common cfg size({size}) does not match the feature {feature}",
        "The device offers {feature}, whose fields its common configuration of {size} bytes lacks.",
    ),
    (
        "Bad virtqueue length {length}",
        (
            "The driver, or the size that the device tells, makes a virtqueue of {length} "
            "descriptors: it has to be a power of two."
        ),
    ),
    (
        "{queue}:id {id} out of range",
        (
            "The device has put descriptor {id} into the used ring of {queue}; there is none. The "
            "queue is dead until the device is reset."
        ),
    ),
    (
        "{queue}:id {id} is not a head!",
        (
            "The device has used descriptor {id} of {queue}, with which no buffer begins: it was "
            "never made available, or is given back twice."
        ),
    ),
    (
        "New virtio-mmio devices (version 2) must provide VIRTIO_F_VERSION_1 feature!",
        "The device tells version 2 and does not offer VIRTIO_F_VERSION_1.",
    ),
    (
        "Wrong magic value {value}!",
        (
            "There is no virtio-mmio device where the devicetree has one: it reads {value}, not "
            '"virt".'
        ),
    ),
    (
        "Version {version} not supported!",
        "The virtio-mmio device has version {version}; the driver knows 1 and 2.",
    ),
    (
        "Failed to enable 64-bit or 32-bit DMA.  Trying to continue, but this might not work.",
        "The platform lets the device reach no memory that the kernel could give it.",
    ),
    (
        "platform bug: legacy virtio-mmio must not be used with RAM above {limit}GB",
        "A legacy device has addresses of 32 bits for pages; memory lies above {limit} GB.",
    ),
    (
        "{name} failure: config access disabled",
        "The transport cannot read the device's configuration, which the driver of {name} needs.",
    ),
)

BLOCK = messages(
    "Linux virtio_blk",
    (
        "MQ advertised but zero queues reported",
        "The device offers VIRTIO_BLK_F_MQ, and num_queues in its configuration is 0.",
    ),
    ("virtio_blk: secure_erase_sector_alignment can't be 0", _SHORT),
    ("virtio_blk: max_secure_erase_sectors can't be 0", _SHORT),
    ("virtio_blk: max_secure_erase_seg can't be 0", _SHORT),
    ("zero write granularity reported", _SHORT),
    (
        "zoned device with non power of two zone size {size}",
        "The device tells zones of {size} sectors, which is no power of two.",
    ),
    (
        "ignoring negotiated F_DISCARD for zoned device",
        "A zoned device offers VIRTIO_BLK_F_DISCARD, which it must not.",
    ),
    ("zero max_append_sectors reported", _SHORT),
    (
        "write granularity {granularity} exceeds max_append_sectors {most} limit",
        "The device writes in units of {granularity} bytes and appends {most} sectors at most.",
    ),
    (
        "unsupported zone model {model}",
        "The device tells the zone model {model}, which the specification does not have.",
    ),
    (
        "zone {zone}: invalid type {type}",
        "The device reports zone {zone} with the type {type}, which there is not.",
    ),
    (
        "zone {zone}: invalid condition {condition}",
        "The device reports zone {zone} in the condition {condition}, which there is not.",
    ),
    (
        "[{disk}] {}{blocks} {size}-byte logical blocks ({}/{})",
        "The disk {disk} is there, or has another size: {blocks} blocks of {size} bytes.",
    ),
    (
        "{default}/{read}/{poll} default/read/poll queues",
        "The driver uses so many virtqueues of the device.",
    ),
)

NET = messages(
    "Linux virtio_net",
    (
        "{name}: rx error: len {length} exceeds truesize {size}",
        "The device says to have written {length} bytes into a buffer of {size}.",
    ),
    (
        "{name}: rx error: {count} buffers missing",
        "A packet that is said to have several buffers ends {count} early: num_buffers is wrong.",
    ),
    (
        "{name}: rx error: len {length} exceeds allocated size {size}",
        "The device says to have written {length} bytes into a buffer of {size}.",
    ),
    (
        "{name}: rx error: len {length} exceeds max size {size}",
        "The device says to have written {length} bytes into a buffer of {size}.",
    ),
    (
        "{name}: rx error: {missing} buffers out of {count} missing",
        "A packet that is said to have {count} buffers ends {missing} early.",
    ),
    (
        "device advertises feature {feature} but not {needed}",
        "The device offers {feature} without {needed}, on which it depends: neither is used.",
    ),
    ("Failed to get hw stats.", "The device refused VIRTIO_NET_CTRL_STATS_GET."),
    (
        "Unexpected TXQ ({queue}) queue failure: {errno}",
        "There is no room in transmit queue {queue}, though the driver counts some.",
    ),
    (
        "virtio_net: setting MAC address failed",
        "The device refused VIRTIO_NET_CTRL_MAC_ADDR_SET when the driver began.",
    ),
    (
        "virtio_net: fail to get stats capability",
        "The device offers VIRTIO_NET_F_DEVICE_STATS and refused the query of what it counts.",
    ),
    (
        "{name}: short packet {length}",
        "The device has used a buffer with {length} bytes: less than the header.",
    ),
    (
        "{name}: bad csum: flags: {flags}, gso_type: {type} rx_tnl_csum {}",
        "The checksum's place in the header of a packet, flags {flags}, is not in the packet.",
    ),
    (
        "{name}: bad gso: type: {type}, size: {size}, flags {flags} tunnel {} tnl csum {}",
        "The header of a packet names segments of type {type} and {size} bytes, which cannot be.",
    ),
    (
        "Failed to add sgs for command vq: {errno}",
        "There is no room in the control virtqueue: the device has not used earlier commands.",
    ),
    ("Failed to ack link announce.", "The device refused VIRTIO_NET_CTRL_ANNOUNCE_ACK."),
    ("Fail to set guest offload.", "The device refused VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET."),
    ("Failed to kill VLAN ID {vlan}.", "The device refused VIRTIO_NET_CTRL_VLAN_DEL."),
    ("Failed to add VLAN ID {vlan}.", "The device refused VIRTIO_NET_CTRL_VLAN_ADD."),
    (
        "Fail to set num of queue pairs to {pairs}",
        "The device refused VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET for {pairs} pairs.",
    ),
    (
        "Failed to set mac address by vq command.",
        "The device refused VIRTIO_NET_CTRL_MAC_ADDR_SET.",
    ),
    ("Failed to {}able promisc mode.", "The device refused VIRTIO_NET_CTRL_RX_PROMISC."),
    ("Failed to {}able allmulti mode.", "The device refused VIRTIO_NET_CTRL_RX_ALLMULTI."),
    ("Failed to set MAC filter table.", "The device refused VIRTIO_NET_CTRL_MAC_TABLE_SET."),
    (
        "TX timeout on queue: {queue}, sq: {name}, vq: {vq}, name: {}, {time} usecs ago",
        (
            "The device has used no buffer of {name} for {time} us: it does not go on, or was not "
            "notified."
        ),
    ),
    (
        "device MTU appears to have changed it is now {mtu} < {least}",
        "The configuration tells an MTU of {mtu}; the driver needs {least}.",
    ),
    (
        "Assigned random MAC address {address}",
        "The device offers no VIRTIO_NET_F_MAC: its address is a random one.",
    ),
)

MESSAGES = (*VIRTIO, *BLOCK, *NET)
