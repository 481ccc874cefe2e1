"""What changes would move: when the ranks are asked, and what their answers are worth."""

from __future__ import annotations

from flexmpi.runtime.arrays.registry import Registry
from flexmpi.runtime.arrays.sparse import DistributedCSR
from flexmpi.runtime.job.places import Transition
from flexmpi.runtime.prediction.volumes import MOST_WEIGHTS, Volumes
from flexmpi.runtime.rank.imagined import Imagined


def growing(ranks: int, total: int = 0) -> Transition:
    return Transition((1.0,) * max(ranks + 1, total), (ranks,))


def test_one_question_at_a_time_and_what_was_answered_is_asked_again_with_what_is_new():
    volumes = Volumes()
    volumes.begin("here")
    question = volumes.question([growing(1)], weights=[1.0])
    assert question is not None
    assert question["changes"] == [{"weights": (1.0, 1.0), "newcomers": (1,)}]
    assert volumes.question([growing(1)], weights=[1.0]) is None
    assert volumes.answered({"number": question["number"], "bytes": [80]})
    assert volumes.known == {growing(1): 80}
    wider = volumes.question([growing(2)], weights=[1.0])
    assert wider is not None
    assert len(wider["changes"]) == 2
    # Late, and again: a matrix was assigned anew.
    assert not volumes.answered({"number": question["number"], "bytes": [81]})
    for answer in ([80, 160], [81, 161]):
        assert volumes.answered({"number": wider["number"], "bytes": answer})
    assert volumes.known == {growing(1): 81, growing(2): 161}


def test_a_job_that_has_changed_is_asked_anew_and_answers_of_before_are_worth_nothing():
    volumes = Volumes()
    volumes.begin("here")
    question = volumes.question([growing(1)], weights=[1.0])
    assert question is not None
    volumes.begin("there")
    assert not volumes.answered({"number": question["number"], "bytes": [80]})
    assert volumes.known == {}
    assert volumes.question([growing(1)], weights=[1.0]) is not None


def test_more_than_ranks_can_look_at_quickly_is_asked_in_parts_and_one_change_at_least():
    volumes = Volumes()
    large = [growing(number, MOST_WEIGHTS // 3) for number in range(5)]
    asked = 0
    while unknown := [each for each in large if each not in volumes.known]:
        question = volumes.question(unknown, weights=[1.0])
        assert question is not None
        assert sum(len(each["weights"]) for each in question["changes"]) <= MOST_WEIGHTS
        assert volumes.answered({"number": question["number"], "bytes": [8] * len(question["changes"])})
        asked += 1
    assert asked == 2
    huge = volumes.question([growing(1, 2 * MOST_WEIGHTS)], weights=[1.0])
    assert huge is not None
    assert len(huge["changes"]) == 1


def test_ranks_answer_once_and_again_when_a_matrix_is_assigned_and_nothing_that_is_about_others():
    registry, imagined = Registry(), Imagined()
    registry.start([1.0], 0)
    matrix = DistributedCSR("A", (2, 2), space=registry.space(2))
    registry.add("A", matrix)
    question = {"number": 7, "weights": [1.0], "changes": [{"weights": [1.0, 1.0], "newcomers": [1]}]}
    assert imagined.due(registry) == ()
    imagined.ask({**question, "weights": [2.0]})
    assert imagined.due(registry) == ()
    imagined.ask(question)
    assert imagined.due(registry) == (growing(1),)
    assert imagined.answer([16]) == {"number": 7, "bytes": [16]}
    assert imagined.due(registry) == ()
    matrix.assign([0, 1, 2], [0, 1], [1.0, 1.0])
    assert imagined.due(registry) == (growing(1),)
    imagined.forget()
    matrix.assign([0, 0, 0], [], [])
    assert imagined.due(registry) == ()
