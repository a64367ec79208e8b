"""What nodes sign while they found a cluster: who asks for a vote, and who answers.

A signature is over a label, the question, and for an answer also the answer, each as the JSON object that was sent,
without its id and its signature. A question has a nonce, so an answer fits one question only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from qcore.security.keys.node_key import NodeKey, is_signed_by

_QUESTION: Final = b"qcore founding 1 question\n"
_ANSWER: Final = b"qcore founding 1 answer\n"
#: The fields that are not signed.
_UNSIGNED: Final = ("id", "signature")

Fields = Mapping[str, object]


def sign_question(key: NodeKey, name: str, question: Fields) -> str:
    """The signature of the node that asks; `name` is that of the message."""
    return key.sign(_QUESTION + _canonical(name, question))


def question_signed(public_key: str, signature: str, name: str, question: Fields) -> bool:
    """Whether the owner of this key has asked this."""
    return is_signed_by(public_key, signature, _QUESTION + _canonical(name, question))


def sign_answer(key: NodeKey, name: str, question: Fields, answer: Fields) -> str:
    """The signature of the node that answers a question."""
    return key.sign(_ANSWER + _canonical(name, question, answer))


def answer_signed(
    public_key: str, signature: str, name: str, question: Fields, answer: Fields
) -> bool:
    """Whether the owner of this key has answered this question so."""
    return is_signed_by(public_key, signature, _ANSWER + _canonical(name, question, answer))


def _canonical(name: str, *messages: Fields) -> bytes:
    signed = [
        {field: value for field, value in message.items() if field not in _UNSIGNED}
        for message in messages
    ]
    return json.dumps([name, *signed], sort_keys=True, separators=(",", ":")).encode()
