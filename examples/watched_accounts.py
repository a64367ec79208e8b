"""A state machine whose changes clients can watch: accounts, and transfers between them."""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from json import dumps, loads

from qcore.machines import ApplyContext, Change, TopicChange


class AccountMachine:
    """`{"from": a, "to": b, "amount": n}` moves money, also into debt; the query is an account's name.

    A watch names an account, or `all accounts`.
    """

    name = "accounts"
    versions = (1, 1)

    def __init__(self) -> None:
        self.balances: dict[str, int] = {}
        self.changes: list[TopicChange] = []

    def apply(self, command: str, context: ApplyContext) -> str:
        self.changes = []  # a command that fails changes nothing
        try:
            request = loads(command)
            payer, payee = str(request["from"]), str(request["to"])
            amount = int(request["amount"])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            return f"bad command: {error}"
        self.add(payer, -amount)
        self.add(payee, amount)
        return "done"

    def add(self, account: str, amount: int) -> None:
        balance = self.balances[account] = self.balances.get(account, 0) + amount
        body = dumps({"account": account, "balance": balance})
        topics = dict.fromkeys([account, "all accounts"])  # each topic once, whatever the name
        self.changes.append(TopicChange(tuple(topics), body))

    def last_changes(self) -> Sequence[Change]:
        return self.changes

    def query(self, query: str) -> str:
        return str(self.balances.get(query, 0))

    def snapshot(self) -> Iterable[str]:
        return [dumps(self.balances, sort_keys=True)]

    def restore(self, chunks: Iterable[str]) -> None:
        self.balances = loads("".join(chunks))

    def state_hash(self) -> str:
        return sha256("".join(self.snapshot()).encode()).hexdigest()
