"""Explains an operation."""

from __future__ import annotations

from qcore.analysis.course.course_types import Course, OperationCourse
from qcore.analysis.explanations.explained_text import Explanation


def explain_operation(course: Course, operation: OperationCourse) -> Explanation:
    """Explain an operation of a course: see `explain`."""
    return Explanation(f"Operation {operation.client}.{operation.op_id}", ())
