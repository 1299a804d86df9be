"""What a name between backticks leads to: one of ours is on the site or at least in the code, or the build fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

from extension.own_names import exists, is_name, page_of_settings, public_bases


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element) -> Element | None:
    """The reference, or plain code where nothing is documented; None, which warns, where a name of ours is wrong."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    if page := page_of_settings(target):
        return make_refnode(app.builder, node["refdoc"], page, "", content, target)
    for name, entry in _ends_of_names(env, target):
        return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, name)
    code = node["reftype"] == "obj" and not is_name(target)
    return content if code or exists(target) else None


def _ends_of_names(env: BuildEnvironment, target: str) -> Iterator[tuple[str, Any]]:
    """What the site documents by a name that ends so, if it is one thing: `Trainer` for `agents.Trainer`."""
    if not re.fullmatch(r"[A-Z]\w*(\.\w+)?", target):
        return
    found = {
        (entry.docname, entry.node_id): (name, entry)
        for name, entry in env.domains["py"].data["objects"].items()
        if name.endswith(f".{target}")
    }
    if len(found) == 1:
        yield from found.values()


def show_public_bases(app: Sphinx, name: str, kind: Any, options: Any, bases: list[Any]) -> None:
    """Replace base classes that are not public by their own, in place."""
    bases[:] = public_bases(bases) or [object]
