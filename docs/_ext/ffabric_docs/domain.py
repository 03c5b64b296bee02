"""The names that pages can link to: rules and calls."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.domains import Domain, ObjType
from sphinx.roles import XRefRole
from sphinx.util.nodes import make_refnode

if TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.builders import Builder
    from sphinx.environment import BuildEnvironment


class FfaDomain(Domain):
    """Rules and calls, by name."""

    name = "ffa"
    label = "FF-A"
    object_types = {kind: ObjType(kind, kind) for kind in ("rule", "call")}  # noqa: RUF012
    roles = {kind: XRefRole(warn_dangling=True) for kind in object_types}  # noqa: RUF012
    initial_data: dict[str, Any] = {"objects": {}}  # noqa: RUF012
    dangling_warnings = {  # noqa: RUF012
        "rule": "there is no rule %(target)s",
        "call": "there is no call %(target)s",
    }

    def note(self, kind: str, name: str, anchor: str) -> None:
        """Remember where ``name`` is described."""
        self.data["objects"][kind, name] = (self.env.docname, anchor)

    def clear_doc(self, docname: str) -> None:
        """Forget what a page described."""
        objects = self.data["objects"]
        for key in [key for key, (page, _) in objects.items() if page == docname]:
            del objects[key]

    def merge_domaindata(self, docnames: AbstractSet[str], otherdata: dict[str, Any]) -> None:
        """Take over what another process found in ``docnames``."""
        for key, (page, anchor) in otherdata["objects"].items():
            if page in docnames:
                self.data["objects"][key] = (page, anchor)

    def resolve_xref(  # noqa: PLR0917 - as Sphinx calls it
        self,
        env: BuildEnvironment,
        fromdocname: str,
        builder: Builder,
        typ: str,
        target: str,
        node: pending_xref,
        contnode: nodes.Element,
    ) -> nodes.reference | None:
        """The link for a role."""
        found = self.data["objects"].get((typ, target))
        return found and make_refnode(builder, fromdocname, *found, contnode, target)

    def resolve_any_xref(  # noqa: PLR0917 - as above
        self,
        env: BuildEnvironment,
        fromdocname: str,
        builder: Builder,
        target: str,
        node: pending_xref,
        contnode: nodes.Element,
    ) -> list[tuple[str, nodes.reference]]:
        """The links for a name of unknown kind."""
        found = [
            (kind, self.resolve_xref(env, fromdocname, builder, kind, target, node, contnode))
            for kind in self.object_types
        ]
        return [(f"ffa:{kind}", link) for kind, link in found if link is not None]

    def get_objects(self) -> Iterator[tuple[str, str, str, str, str, int]]:
        """Everything, for the search."""
        for (kind, name), (page, anchor) in self.data["objects"].items():
            yield name, name, kind, page, anchor, 1
