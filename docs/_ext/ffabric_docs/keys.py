"""What may stand in a partition manifest and in a system's TOML file, and the devices."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from ffabric.machine.devices.catalogue import TYPES
from ffabric.machine.devices.description import DeviceDescription
from ffabric.system.description.toml import keys as toml_keys
from ffabric.system.manifest import keys as manifest_keys
from ffabric.system.options.keys import Row, Table, rows
from ffabric_docs import markup


class ManifestKeys(SphinxDirective):
    """``{ffa-manifest-keys}``."""

    def run(self) -> list[nodes.Node]:
        """A section for each node of a manifest."""
        return _sections(manifest_keys.TABLES)


class SystemKeys(SphinxDirective):
    """``{ffa-system-keys}``."""

    def run(self) -> list[nodes.Node]:
        """A section for each table of the file."""
        return _sections(toml_keys.TABLES)


class Devices(SphinxDirective):
    """``{ffa-devices}``."""

    def run(self) -> list[nodes.Node]:
        """A section for each type of device."""
        return [_device(TYPES[name]) for name in sorted(TYPES)]


def _sections(tables: Iterable[Table]) -> list[nodes.Node]:
    return [
        markup.section(
            path or "the top of the file", markup.entries(map(_key, group)), code=bool(path)
        )
        for path, group in groupby(rows(tables), attrgetter("path"))
    ]


def _key(row: Row) -> nodes.definition_list_item:
    labels = [markup.label(row.kind, "ffa-kind")]
    if row.required:
        labels.append(markup.label("required", "ffa-status"))
    facts = [
        f"{name} {text}"
        for name, text in (("default:", row.default), ("", row.allowed), ("", row.section))
        if text
    ]
    body = [markup.paragraph(row.doc)]
    if row.effect:
        body.append(markup.paragraph(f"Effect: {row.effect}"))
    if row.ignored:
        body.append(markup.paragraph(f"No effect, and a warning: {row.ignored}."))
    if facts:
        body.append(markup.paragraph(" · ".join(map(str.strip, facts)), classes=["ffa-source"]))
    return markup.entry(row.name, labels, *body)


def _device(device: DeviceDescription) -> nodes.section:
    _, keys = toml_keys.DEVICE_TYPES[device.type]
    facts = [
        ("compatible", ", ".join(f"`{name}`" for name in device.compatible)),
        ("frames", ", ".join(f"{frame.name} ({frame.size:#x} bytes)" for frame in device.frames)),
        ("interrupts", ", ".join(device.interrupts) or "none"),
        ("own keys", ", ".join(f"`{key.name}`: {key.doc}" for key in keys) or "none"),
    ]
    return markup.section(
        device.type,
        markup.paragraph(device.title + "."),
        markup.table(("", ""), facts, "ffa-registers"),
        code=True,
    )
