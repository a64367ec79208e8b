"""Details of requests: which operation a forwarded request belongs to."""

from __future__ import annotations

from qcore.replica.events import ClientRequest
from qcore.replica.messages import Forward
from qcore.replica.request_details import RequestDetails
from qcore.trace import TraceWriter


def test_of_equal_requests_the_forwarded_one_is_named() -> None:
    writer = TraceWriter(keep=True)
    details = RequestDetails(writer, 2)
    for number in (1, 2, 3):
        details.took(number, ClientRequest(number, "read", "the same", 1000), 7, 10 + number)
    held = {100: 3, 101: 2}  # the first was not forwarded: the node led when it came
    for forward in (100, 101, 102):
        message = Forward(forward, "read", "the same", 900)
        details.sent(5, message, f"2-{forward}", held.get)
    found = [
        record.fields["op_id"]
        for record in writer.trace().records({"request"})
        if record.fields["phase"] == "forward"
    ]
    assert found == [13, 12, 11]  # that of 102 has ended meanwhile: the order must do
