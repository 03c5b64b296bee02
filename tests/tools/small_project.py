"""A project with one source file, and a mutant of it."""

from mutants.mutant import Mutant

SOURCE = '''\
"""A file."""

LIMIT: int = 3


class Box:
    """A box."""

    full: bool | None = False

    def put(self, count: int | None = 1) -> bool:
        """Put something in."""
        if self.full:
            return False
        self.count += count
        self.full = self.count >= LIMIT
        return True

    def take(self):
        def one():
            self.count -= 1
            self.count -= 1

        assert self.count > 0
        one()
        refuse(LIMIT, got=self.count + 1, expected="less")
'''
TAKES_ONE = Mutant(
    file="src/box.py", function="Box.put", before="self.count += count", after="self.count -= count"
)
