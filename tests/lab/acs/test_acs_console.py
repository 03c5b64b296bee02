"""Reading what the suite prints."""

from ffabric.lab.acs.console import Console, Verdict

STARS = "***********************************"


def read(text, **options):
    """The console after the lines of ``text``, a nanosecond each."""
    console = Console()
    for now, line in enumerate(text.splitlines()):
        console.line(line, now, **options)
    return console


def test_a_test_from_its_first_line_to_its_result():
    console = read(
        "Negotiate\n"
        "[0000 0]Suite=calls : Test=one\n"
        "[0000 0]\tExecuting Test Setup client: VM1\n"
        "[0000 0]\tExecuting Test Setup client: SP1 server: SP2\n"
        f"Result=Passed\n{STARS}\n"
    )
    (case,) = console.cases
    assert (case.suite, case.name, case.verdict) == ("calls", "one", Verdict.PASSED)
    assert case.setups == ["VM1", "SP1 and SP2"]
    assert (case.begun, case.ended) == (1, 4)
    assert case.reasons == []
    assert console.before == ["Negotiate"]
    assert not console.ended


def test_codes_of_results():
    console = read(
        "Suite=a : Test=f\nResult=Failed (Error code=20)\n"
        "Suite=a : Test=g\nResult=Failed (Error Code=9)\n"
        "Suite=a : Test=s\nResult=Skipped (Skip code=103)\n"
        "Suite=a : Test=e\nResult=Error (Error code=104)\n"
    )
    assert [(case.verdict, case.code) for case in console.cases] == [
        (Verdict.FAILED, 20),
        (Verdict.FAILED, 9),
        (Verdict.SKIPPED, 103),
        (Verdict.ERROR, 104),
    ]
    assert console.cases[0].reasons == ["error code 20"]


def test_an_error_has_the_place_where_it_was_found():
    (case,) = read(
        "Suite=a : Test=t\n"
        "\t\tERROR: wrong answer fid=84000060\n"
        "\t\tERROR: \tCheck failed at /home/builder/a/b_client.c ,line:17\n"
        "\t\tERROR: \tCheck failed at /home/builder/a/c_client.c ,line:18\n"
        "\t\tERROR: , far=3\n"
        "\t\tERROR: this should not be\tCheck failed at /x/d.c ,line:19\n"
        "Result=Failed (Error code=1)\n"
    ).cases
    assert case.errors == [
        "wrong answer fid=84000060 (b_client.c:17)",
        "check failed (c_client.c:18)",
        "far=3",
        "this should not be (d.c:19)",
    ]


def test_partitions_say_things_too():
    console = Console()
    console.line("Suite=a : Test=t", 0)
    console.line("\t\tERROR: not mine", 1, who="sp2")
    console.line("Result=Passed", 2, who="sp2")
    console.refused("sp2.0 by some.rule")
    console.line("Result=Failed (Error code=3)", 3)
    (case,) = console.cases
    assert case.verdict is Verdict.FAILED
    assert case.reasons == ["sp2: not mine", "last refused: sp2.0 by some.rule"]


def test_a_skip_has_the_last_words_as_its_reason_or_its_setup():
    first, second = read(
        "Suite=a : Test=one\nthere is no\nneed\nResult=Skipped (Skip code=103)\n"
        "Suite=a : Test=two\n\tExecuting Test Setup client: VM1 server: VM2\n"
        "Result=Skipped (Skip code=103)\n"
    ).cases
    assert first.reasons == ["need"]
    assert second.reasons == ["no setup with VM1 and VM2 for this build (skip code 103)"]


def test_a_test_without_a_result_was_left_out():
    console = read(
        f"Suite=a : Test=one\n{STARS}\nSuite=a : Test=two\n{STARS}\n"
        "REGRESSION REPORT: \n   TOTAL TESTS     : 0\n******* END OF ACS *******\n"
    )
    assert [case.verdict for case in console.cases] == [Verdict.UNSUPPORTED] * 2
    assert console.ended


def test_a_run_that_stops_leaves_one_test_behind():
    console = read("Suite=a : Test=one\nResult=Passed\nSuite=a : Test=two\n\t\tERROR: no\n")
    console.stop(Verdict.HUNG, "hung: why not", 99)
    one, two = console.cases
    assert one.verdict is Verdict.PASSED
    assert (two.verdict, two.ended) == (Verdict.HUNG, 99)
    assert two.reasons == ["hung: why not", "no"]
    console.stop(Verdict.CRASHED, "nobody is left", 100)
    assert two.verdict is Verdict.HUNG


def test_results_out_of_any_test_are_nobodys():
    assert read("Result=Passed\n\tExecuting Test Setup client: VM1\n").cases == []
