"""How much hypothesis tries: a little each time, much more with ``--hypothesis-profile long``."""

from hypothesis import Phase, settings

QUICKLY = [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink]

settings.register_profile(
    "short",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=25,
    stateful_step_count=40,
    phases=QUICKLY,
)
settings.register_profile(
    "long", deadline=None, max_examples=1000, stateful_step_count=80, phases=QUICKLY
)
settings.load_profile("short")
