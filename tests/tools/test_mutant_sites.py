"""Where mutants are made: wherever code that is executed can be wrong."""

from small_project import SOURCE

from mutants.__main__ import FOLDERS, ROOT
from mutants.mutant import mutate
from mutants.sites import chosen, mutant_of, sites


def made(project):
    """Every mutant of the project's file: its function, what stood there, what stands there."""
    found = (mutant_of(project, each) for each in sites(project / "src/box.py"))
    return {(each.function, each.before, each.after) for each in found if each is not None}


def test_mutants_are_made_of_what_is_executed(project):
    found = made(project)
    assert ("Box.put", "if self.full:", "if not self.full:") in found
    assert ("Box.put", "self.count += count", "pass") in found
    assert ("Box.put", "self.full = self.count >= LIMIT", "self.full = self.count > LIMIT") in found
    assert ("Box.put", "return True", "return False") in found
    assert ("Box.put", "return True", "return") in found
    assert ("Box.take.one", "self.count -= 1", "pass") in found


def test_no_mutant_is_made_of_types_texts_and_assertions(project):
    assert not [each for each in made(project) if each[1].startswith(("full", "def", "assert"))]
    changes = {after for _, before, after in made(project) if before.startswith("refuse")}
    assert changes == {"pass"}


def test_each_mutant_can_be_made_from_what_it_is_named_by(project):
    for site in sites(project / "src/box.py"):
        mutant = mutant_of(project, site)
        assert mutant is not None
        compile(mutate(SOURCE, mutant), "mutant", "exec")


def test_a_sample_depends_on_its_seed_alone():
    one, again, other = (chosen(ROOT, FOLDERS[:1], 5, seed) for seed in (1, 1, 2))
    assert one == again
    assert len(set(one)) == 5
    assert one != other
