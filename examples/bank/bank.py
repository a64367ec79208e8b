"""A bank as a state machine: accounts, refusals, an audit of the books, and changes that clients can watch.

Test it in the simulator, then run it on real nodes:

    qcore sim run examples/bank/bank_partition.yaml
    qcore node start --id 1 --ws-addr 127.0.0.1:8080 --data-dir data/bank --machine examples/bank/bank.py:BankMachine &
    qcore cluster init --endpoints 127.0.0.1:8080
    qcore execute --endpoints 127.0.0.1:8080 '{"do": "open", "account": "ann"}'
    qcore execute --endpoints 127.0.0.1:8080 '{"do": "deposit", "account": "ann", "amount": 70}'
    qcore execute --endpoints 127.0.0.1:8080 --read ann
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from json import dumps, loads

from qcore.machines import ApplyContext, Change, TopicChange

MOST = 10**12  # the largest amount of one command


class Refused(Exception):
    """The bank does not execute a command. Nothing changes."""


class BankMachine:
    """`open`, `deposit`, `withdraw`, `transfer` and `audit`; each command is a JSON object, see `execute`.

    The result is `{"ok": balances}` or `{"refused": reason}`. The query is an account's name, or empty for the total of
    all accounts. A watch names an account, or `all accounts`.
    """

    name = "bank"
    versions = (1, 1)

    def __init__(self) -> None:
        self.balances: dict[str, int] = {}
        self.cash = 0  # deposits less withdrawals; the accounts together hold this much
        self.changes: list[TopicChange] = []

    def apply(self, command: str, context: ApplyContext) -> str:
        self.changes = []  # a refused command changes nothing
        try:
            changed = self.execute(loads(command))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            return dumps({"refused": f"bad command: {error}"})
        except Refused as error:
            return dumps({"refused": str(error)})
        self.balances |= changed
        for account, balance in changed.items():
            body = dumps({"account": account, "balance": balance})
            topics = dict.fromkeys([account, "all accounts"])  # each topic once, whatever the name
            self.changes.append(TopicChange(tuple(topics), body))
        return dumps({"ok": changed})

    def execute(self, request: dict[str, object]) -> dict[str, int]:
        """The new balances of the accounts that a command changes. Every check comes before the first change."""
        match request["do"]:
            case "open":
                account = str(request["account"])
                if not account or account in self.balances:
                    raise Refused(f"an account cannot have the name {account!r}, or exists already")
                return {account: 0}
            case "deposit":
                account, amount = str(request["account"]), amount_of(request)
                balance = self.balance(account) + amount
                self.cash += amount
                return {account: balance}
            case "withdraw":
                account, amount = str(request["account"]), amount_of(request)
                balance = self.reduced(account, amount)
                self.cash -= amount
                return {account: balance}
            case "transfer":
                payer, payee = str(request["from"]), str(request["to"])
                amount = amount_of(request)
                if payer == payee:
                    raise Refused("a transfer needs two accounts")
                return {payer: self.reduced(payer, amount), payee: self.balance(payee) + amount}
            case "audit":
                self.audit()
                return {}
        raise Refused("do must be open, deposit, withdraw, transfer or audit")

    def balance(self, account: str) -> int:
        if account not in self.balances:
            raise Refused(f"there is no account {account!r}")
        return self.balances[account]

    def reduced(self, account: str, amount: int) -> int:
        balance = self.balance(account)
        if balance < amount:
            raise Refused(f"{account!r} has {balance}, which is less than {amount}")
        return balance - amount

    def audit(self) -> None:
        """Check what no command may break.

        A machine that finds a bug in itself raises: its node stops, and the simulator reports the command.
        """
        total = sum(self.balances.values())
        assert total == self.cash, f"the accounts hold {total}, and the bank {self.cash}"
        assert min(self.balances.values(), default=0) >= 0, "an account is in debt"

    def last_changes(self) -> Sequence[Change]:
        return self.changes

    def query(self, query: str) -> str:
        return dumps(self.balances.get(query) if query else self.cash)

    def snapshot(self) -> Iterable[str]:
        return [dumps({"balances": self.balances, "cash": self.cash}, sort_keys=True)]

    def restore(self, chunks: Iterable[str]) -> None:
        state = loads("".join(chunks))
        self.balances, self.cash = state["balances"], state["cash"]

    def state_hash(self) -> str:
        return sha256("".join(self.snapshot()).encode()).hexdigest()


def amount_of(request: dict[str, object]) -> int:
    amount = request["amount"]
    if type(amount) is not int or not 1 <= amount <= MOST:  # a bool is an int, too
        raise Refused(f"an amount is an integer from 1 to {MOST}")
    return amount
