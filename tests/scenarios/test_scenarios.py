"""Every golden scenario in this folder."""

from pathlib import Path

import pytest

from fairway.testing.scenario_words import ScenarioError
from fairway.testing.scenarios import main, play, read, write

FILES = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_plan_is_the_right_one(path: Path) -> None:
    scenario = read(path.read_text())
    assert play(scenario) == [list(block.plan) for block in scenario.blocks]


def test_there_are_enough_of_them() -> None:
    assert len(FILES) >= 40


def test_a_wrong_plan_is_noticed_and_written_anew_only_when_asked(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.txt"
    text = "## a job starts\nnodes    n1 8xH100\npending  dev/a 8\n# plan\nstart    dev/a on n1[0]\n"
    wrong.write_text(text)
    assert main([str(wrong)]) == 1
    assert wrong.read_text() == text
    assert main(["--update", str(wrong)]) == 1
    assert wrong.read_text() == text.replace("n1[0]", "n1[0-7]")
    assert main([str(wrong)]) == 0


def test_what_is_written_is_read_again() -> None:
    for path in FILES:
        scenario = read(path.read_text())
        assert read(write(scenario, [block.plan for block in scenario.blocks])) == scenario


@pytest.mark.parametrize("text", ["nodes n1 8xH100\n# plan\n", "## no plan\nnodes n1 8xH100\n"])
def test_half_a_scenario_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match="begins with"):
        read(text)


def test_an_unknown_event_is_refused() -> None:
    with pytest.raises(ScenarioError, match="'dance' is none of"):
        play(read("## a step\ndance n1\n# plan\n"))
