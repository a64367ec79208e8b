"""`explain`: sentences about an election or an operation."""

from __future__ import annotations

from qcore.analysis.course.course_types import Course, Election, OperationCourse
from qcore.analysis.explanations.explain_election import explain_election
from qcore.analysis.explanations.explain_operation import explain_operation
from qcore.analysis.explanations.explained_text import Explanation


def explain(course: Course, subject: Election | OperationCourse) -> Explanation:
    """Explain in sentences what happened in an election or to an operation, and why it took that long.

        course = read_course("run.qtrace")
        print(explain(course, course.elections[0]))

    Times are seconds since the begin of the cluster.

    Args:
        course: the course of the run.
        subject: one of `course.elections` or `course.operations`.
    """
    if isinstance(subject, Election):
        return explain_election(course, subject)
    return explain_operation(course, subject)
