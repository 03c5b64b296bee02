"""Sphinx extension: reference pages made from the tables of the code, and inline pictures.

    {ffa-rules}           every rule, by room
    {ffa-personalities}   how implementations differ from the specification
    {ffa-calls}           every call: ids, versions, instances, registers
    {ffa-manifest-keys}   every property of a partition manifest
    {ffa-system-keys}     every key of a system's TOML file
    {ffa-devices}         every device a system can name
    {ffa-events}          every kind of line of a trace
    {ffa-commands}        every command, its arguments and options
    {ffa-benchmarks}      what `ffabric bench` measures
    {ffa-context-states}  the states of an execution context, as a picture
    {ffa-context-verbs}   what moves it between them, and what that does to the chain of calls
    {ffa-virtio-msg-rules}  every rule of virtio-msg, and whom it binds
    {picture} NAME        pictures/NAME.svg, inline, with its caption

The roles {ffa:rule} and {ffa:call} link to a rule and a call; a name that does not exist is an
error of the build.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ffabric.guests.calls.both_ways import both_ways
from ffabric.guests.ffa import Calls
from ffabric.guests.optee.normal_world.driver import DriverCalls
from ffabric.system.description.toml.keys import config_schema
from ffabric_docs.calls import CallTables
from ffabric_docs.commands import Benchmarks, Commands
from ffabric_docs.contexts import ContextStates, ContextVerbs
from ffabric_docs.domain import FfaDomain
from ffabric_docs.events import Events
from ffabric_docs.keys import Devices, ManifestKeys, SystemKeys
from ffabric_docs.personalities import Personalities
from ffabric_docs.picture import Picture
from ffabric_docs.rules import Rules
from ffabric_docs.wire_rules import WireRules

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment


TABLES = re.compile(r"^architecture$|^benchmarks$|^reference/[^/]+$")
"""Pages that are made from tables of the code, or have a picture of one."""


def outdated(_: Sphinx, env: BuildEnvironment, *__: set[str]) -> list[str]:
    """Tables of the code may have changed since the last build though their pages have not."""
    return [name for name in env.found_docs if TABLES.match(name)]


def write_schema(app: Sphinx, error: Exception | None) -> None:
    """Put the JSON Schema of a system's TOML file beside the pages."""
    if error is None and app.builder.format == "html":
        path = Path(app.outdir) / "system.schema.json"
        path.write_text(json.dumps(config_schema(), indent=2) + "\n", encoding="utf-8")


def show_calls_as_methods() -> None:
    """Let autodoc see the functions that the calls of a partition are written as."""
    for owner in (*Calls.__mro__, *DriverCalls.__mro__):
        for name, member in list(vars(owner).items()):
            if isinstance(member, both_ways):
                setattr(owner, name, member.function)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register everything above."""
    app.add_domain(FfaDomain)
    app.add_directive("ffa-rules", Rules)
    app.add_directive("ffa-personalities", Personalities)
    app.add_directive("ffa-calls", CallTables)
    app.add_directive("ffa-manifest-keys", ManifestKeys)
    app.add_directive("ffa-system-keys", SystemKeys)
    app.add_directive("ffa-devices", Devices)
    app.add_directive("ffa-events", Events)
    app.add_directive("ffa-commands", Commands)
    app.add_directive("ffa-benchmarks", Benchmarks)
    app.add_directive("ffa-virtio-msg-rules", WireRules)
    app.add_directive("ffa-context-states", ContextStates)
    app.add_directive("ffa-context-verbs", ContextVerbs)
    app.add_directive("picture", Picture)
    app.connect("env-get-outdated", outdated)
    app.connect("build-finished", write_schema)
    show_calls_as_methods()
    return {"parallel_read_safe": True, "parallel_write_safe": True, "version": "1"}
