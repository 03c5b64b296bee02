"""How a face is lazy: a name is looked up where it lives when somebody first asks for it (PEP 562).

So importing ffabric imports nothing else, and a name costs what it needs.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType


def load(module: str) -> "ModuleType":
    """Import a module, and what it imports, without looking for garbage meanwhile.

    What importing makes stays. In a process that has made much already, as a test runner has, to
    look through all of it again and again takes longer than the import itself.
    """
    import gc  # noqa: PLC0415 - a face by itself loads nothing

    enabled = gc.isenabled()
    gc.disable()
    try:
        __import__(module)
    finally:
        if enabled:
            gc.enable()
    return sys.modules[module]


def lazy(
    face: str, homes: "Mapping[str, str]"
) -> "tuple[Callable[[str], object], Callable[[], list[str]]]":
    """``__getattr__`` and ``__dir__`` of a face whose names live in the modules of ``homes``.

    A name that is another one at home is given as "module:name", a module itself as "module:.".
    """

    def get(name: str) -> object:
        home = homes.get(name)
        if home is None:
            message = f"module {face!r} has no attribute {name!r}"
            raise AttributeError(message, name=name, obj=sys.modules[face])
        module, _, inner = home.partition(":")
        found = load(module)
        value: object = found if inner == "." else getattr(found, inner or name)
        setattr(sys.modules[face], name, value)
        return value

    def names() -> list[str]:
        return sorted(homes)

    return get, names
