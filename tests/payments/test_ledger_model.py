"""The ledger against a model of dictionaries, in any order of calls and replays."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from django.contrib.auth import get_user_model
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from payments import chart, invariants, ledger, queries, rewards
from payments.models import LedgerAccount

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)

PEOPLE = st.integers(0, 2)
JOBS = st.sampled_from(["1", "2", "3"])
KEYS = st.sampled_from(["a", "b", "c"])
REPLICAS = st.sampled_from([f"r{number}" for number in range(12)])
SOME_REPLICAS = st.lists(REPLICAS, max_size=4)
AMOUNTS = st.integers(1, 60)


@dataclass(frozen=True)
class Waiting:
    """An intent of the model."""

    key: str
    source: str
    destination: str
    amount: int
    due_at: datetime | None


class LedgerMachine(RuleBasedStateMachine):
    """Every rule calls the ledger and does the same to the model."""

    def __init__(self):
        super().__init__()
        # A savepoint, not `atomic`: durable services refuse to run inside an atomic block.
        self.savepoint = transaction.savepoint()
        users = get_user_model()
        self.ids = [
            users.objects.create(**{users.USERNAME_FIELD: f"p{number}@example.org"}).pk
            for number in range(3)
        ]
        self.now = NOW
        self.balance = Counter[str]()
        self.deposits: dict[tuple[int, str], int] = {}
        self.holds: dict[str, tuple[int, int]] = {}
        self.waiting: list[Waiting] = []
        self.keys: set[str] = set()
        self.order: dict[str, int] = {}
        self.voids = Counter[str]()
        self.returned: dict[str, int] = {}
        self.frozen: set[str] = set()
        #: Rewards taken back: they wait here for being paid after all.
        self.voided: dict[str, Waiting] = {}
        self.matured: set[str] = set()

    def teardown(self):
        transaction.savepoint_rollback(self.savepoint)

    def available(self, person):
        return f"user:{self.ids[person]}:available"

    def move(self, source, destination, amount):
        self.balance[source] -= amount
        self.balance[destination] += amount

    @rule(minutes=st.integers(1, 90))
    def wait(self, minutes):
        self.now += timedelta(minutes=minutes)

    @rule(person=PEOPLE, key=KEYS, amount=AMOUNTS)
    def deposit(self, person, key, amount):
        known = self.deposits.get((person, key))
        try:
            ledger.deposit(owner_id=self.ids[person], amount_minor=amount, key=key, now=self.now)
        except ledger.KeyReused:
            assert known not in (None, amount)
        else:
            assert known in (None, amount)
            if known is None:
                self.deposits[person, key] = amount
                self.move("rail:sandbox:PI", self.available(person), amount)

    @rule(person=PEOPLE, job=JOBS, amount=AMOUNTS)
    def hold(self, person, job, amount):
        known = self.holds.get(job)
        try:
            with transaction.atomic():
                ledger.hold(
                    owner_id=self.ids[person],
                    ref_type="job",
                    ref_id=job,
                    amount_minor=amount,
                    now=self.now,
                )
        except ledger.InsufficientFunds:
            assert amount > self.balance[self.available(person)]
        except ledger.KeyReused:
            assert known not in (None, (person, amount))
        else:
            assert known in (None, (person, amount))
            if known is None:
                self.holds[job] = (person, amount)
                self.move(self.available(person), f"job:{job}:escrow", amount)

    @rule(
        job=JOBS,
        replica=REPLICAS,
        person=PEOPLE,
        reward=AMOUNTS,
        fee=st.integers(0, 5),
        funded_by=st.sampled_from(["escrow", "escrow", "reserve"]),
        hours=st.integers(0, 2),
    )
    def accept(self, job, replica, person, reward, fee, funded_by, hours):
        due_at = self.now + timedelta(hours=hours)
        try:
            with transaction.atomic():
                ledger.record_intents(
                    ledger.reward_intents(
                        job_id=job,
                        replica_id=replica,
                        operator_id=self.ids[person],
                        reward_minor=reward,
                        fee_minor=fee,
                        funded_by=funded_by,
                        due_at=due_at,
                    ),
                    now=self.now,
                )
        except chart.UnknownEscrow:
            assert funded_by == "escrow"
            assert job not in self.holds
            return
        pays = f"job:{job}:escrow" if funded_by == "escrow" else "platform:reserve"
        pending = f"user:{self.ids[person]}:pending"
        if funded_by == "escrow" and fee:
            self.expect(f"replica:{replica}:fee", pays, "platform:fee", fee, None)
        self.expect(f"replica:{replica}:mature", pending, self.available(person), reward, due_at)
        self.expect(f"replica:{replica}:reward", pays, pending, reward, None)

    def expect(self, key, source, destination, amount, due_at):
        if key not in self.keys:
            self.keys.add(key)
            self.order[key] = len(self.order)
            self.waiting.append(Waiting(key, source, destination, amount, due_at))

    def settle(self, batch):
        """Post intents to the model; return how many could be."""
        settled = 0
        for intent in batch:
            source = intent.source
            if source.endswith(":escrow") and self.balance[source] < intent.amount:
                source = "platform:reserve"
            if source.endswith(":pending") and self.balance[source] < intent.amount:
                continue
            self.move(source, intent.destination, intent.amount)
            self.waiting.remove(intent)
            if intent.key.endswith(":mature"):
                self.matured.add(intent.key)
            settled += 1
        return settled

    @rule(limit=st.integers(1, 12))
    def post(self, limit):
        ready = [intent for intent in self.waiting if intent.due_at is None]
        ready = sorted(ready, key=lambda intent: self.order[intent.key])[:limit]

        assert ledger.post_intents(limit=limit, now=self.now) == self.settle(ready)

    @rule(limit=st.integers(1, 12))
    def mature(self, limit):
        due = [
            intent
            for intent in self.waiting
            if intent.due_at and intent.due_at <= self.now and intent.key not in self.frozen
        ]
        due.sort(key=lambda intent: (intent.due_at, self.order[intent.key]))

        assert ledger.mature(limit=limit, now=self.now) == self.settle(due[:limit])

    def maturing(self, replicas):
        """Return the rewards of the model that wait, voided ones left out, by key."""
        keys = {f"replica:{replica}:mature" for replica in replicas}
        return {intent.key: intent for intent in self.waiting if intent.key in keys}

    @rule(replicas=SOME_REPLICAS)
    def freeze(self, replicas):
        stopped = set(self.maturing(replicas)) - self.frozen

        with transaction.atomic():
            assert rewards.freeze(replica_ids=replicas, now=self.now) == len(stopped)

        self.frozen |= stopped

    @rule(replicas=SOME_REPLICAS)
    def unfreeze(self, replicas):
        freed = set(self.maturing(replicas)) & self.frozen

        with transaction.atomic():
            assert rewards.unfreeze(replica_ids=replicas) == len(freed)

        self.frozen -= freed

    @rule(replicas=SOME_REPLICAS, minutes=st.integers(-60, 120))
    def postpone(self, replicas, minutes):
        due_at = self.now + timedelta(minutes=minutes)
        moved = [row for row in self.maturing(replicas).values() if row.due_at != due_at]

        with transaction.atomic():
            assert rewards.postpone(replica_ids=replicas, due_at=due_at) == len(moved)

        for row in moved:
            self.waiting[self.waiting.index(row)] = replace(row, due_at=due_at)

    @rule(replicas=SOME_REPLICAS)
    def void(self, replicas):
        with transaction.atomic():
            outcome = rewards.void(replica_ids=replicas, now=self.now)

        keys = {f"replica:{replica}:mature": replica for replica in replicas}
        assert {name for name, found in outcome.items() if found == "matured"} == {
            keys[key] for key in self.matured & set(keys)
        }
        rows = self.maturing(replicas)
        assert {name for name, found in outcome.items() if found == "voided"} == {
            keys[key] for key in {*rows, *self.voided} & set(keys)
        }
        for key in sorted(rows, key=self.order.__getitem__):
            self.waiting.remove(rows[key])
            self.frozen.discard(key)
            self.voided[key] = rows[key]
            self.expect(
                f"{key}:void:{self.voids[key]}",
                rows[key].source,
                "platform:reserve",
                rows[key].amount,
                None,
            )
            self.voids[key] += 1

    @rule(replicas=SOME_REPLICAS)
    def pay_again(self, replicas):
        keys = {f"replica:{replica}:mature": replica for replica in replicas}
        again = sorted(set(keys) & set(self.voided), key=self.order.__getitem__)

        with transaction.atomic():
            paid = rewards.pay_again(replica_ids=replicas, due_at=self.now, now=self.now)

        assert paid == [keys[key] for key in again]
        for key in again:
            row = self.voided.pop(key)
            self.waiting.append(replace(row, due_at=self.now))
            number = self.voids[key]
            self.expect(f"{key}:reward:{number}", "platform:reserve", row.source, row.amount, None)

    @rule(job=JOBS)
    def release(self, job):
        escrow = f"job:{job}:escrow"
        try:
            with transaction.atomic():
                returned = ledger.release_hold(ref_type="job", ref_id=job, now=self.now)
        except chart.UnknownEscrow:
            assert job not in self.holds
            return
        self.settle([intent for intent in self.waiting if intent.source == escrow])
        rest = self.balance[escrow]
        self.move(escrow, self.available(self.holds[job][0]), rest)
        self.returned[job] = self.returned.get(job, 0) + rest
        assert returned == self.returned[job]

    @invariant()
    def accounts_equal_the_model(self):
        accounts = LedgerAccount.objects.all()
        found = {account.code: account.balance_minor for account in accounts}

        assert {code: balance for code, balance in found.items() if balance} == {
            code: balance for code, balance in self.balance.items() if balance
        }

    @invariant()
    def wallets_equal_the_model(self):
        for person, owner_id in enumerate(self.ids):
            jobs = [job for job, (owner, _) in self.holds.items() if owner == person]
            assert queries.wallet(owner_id) == queries.Wallet(
                asset="PI",
                available_minor=self.balance[self.available(person)],
                pending_minor=self.balance[f"user:{owner_id}:pending"],
                frozen_minor=sum(
                    intent.amount
                    for intent in self.waiting
                    if intent.key in self.frozen and intent.source == f"user:{owner_id}:pending"
                ),
                held_minor=sum(self.balance[f"job:{job}:escrow"] for job in jobs),
                paid_minor=0,
            )

    @invariant()
    def the_audit_finds_nothing(self):
        checks = invariants.audit(now=self.now, intent_age_max=timedelta(days=36500))

        assert [check.name for check in checks if not check.ok] == []


def test_any_order_of_calls_and_replays_leaves_the_books_true(db):
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=25,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
