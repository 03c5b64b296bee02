"""Whether every type of the public interface is known: python .ci/face_types.py

pyright's check of type completeness counts private modules too. Of what it says this reads what
concerns the names that the faces export: the name itself, the members of a class, and those of the
classes of ours that it is derived from.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

FACES = ("ffabric", "ffabric.virtio", "ffabric.optee", "ffabric.trusty", "ffabric.testing")


def public_symbols() -> set[str]:
    """The full names, where they live, of what the faces export."""
    found = set()
    for face in FACES:
        module = importlib.import_module(face)
        for name in module.__all__:
            value = getattr(module, name)
            home, _, inner = module._HOMES[name].partition(":")
            found.add(home if inner == "." else f"{home}.{inner or name}")
            if isinstance(value, type):
                mro = (each for each in inspect.getmro(value) if _is_ours(each))
                found |= {f"{_home(each)}.{each.__qualname__}" for each in mro}
    return found


def _home(kind: type) -> str:
    """Where a class was defined, whatever it says."""
    for name, module in sys.modules.items():
        if name.count(".") and vars(module).get(kind.__name__) is kind and _defines(name, kind):
            return name
    return kind.__module__


def _defines(module: str, kind: type) -> bool:
    functions = (each for each in vars(kind).values() if inspect.isfunction(each))
    return all(each.__module__ == module for each in functions) or kind.__module__ == module


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "ffabric"


def main() -> int:
    """Print what is not known; 1 if there is any."""
    command = [sys.executable, "-m", "basedpyright", "--verifytypes", "ffabric"]
    command += ["--ignoreexternal", "--outputjson"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(  # noqa: S603 - our own arguments; it asks the first python of PATH
        command, stdout=subprocess.PIPE, text=True, check=False, env={**os.environ, "PATH": path}
    )
    report = json.loads(done.stdout)["typeCompleteness"]
    public = public_symbols()
    checked = [
        each
        for each in report["symbols"]
        if any(each["name"] == name or each["name"].startswith(f"{name}.") for name in public)
    ]
    known_names = {each["name"] for each in report["symbols"]} | {
        each["name"] for each in report["modules"]
    }
    missing = sorted(public - known_names)
    wrong = [each for each in checked if not each["isTypeKnown"] or each["isTypeAmbiguous"]]
    for each in wrong:
        for diagnostic in each["diagnostics"]:
            print(f"{each['name']}: {' '.join(diagnostic['message'].split())}")
    for name in missing:
        print(f"{name}: pyright does not know it")
    known = len(checked) - len(wrong)
    print(f"the types of {known} of {len(checked)} symbols of the faces are known")
    return 1 if wrong or missing else 0


if __name__ == "__main__":
    sys.exit(main())
