"""The parts of the simulation: its clock, its chance, its machines and their lies."""

from __future__ import annotations

import statistics

import pytest

from bench.simulation import cheats, kernel, lies
from bench.simulation.churn import Churn
from bench.simulation.fleet import PICTURES, RIGHT, Chunk, Lot, Machine


def test_events_happen_by_time_and_then_as_they_were_entered():
    agenda = kernel.Agenda()
    happened = []
    for at, what in [(2.0, "b"), (1.0, "a"), (2.0, "c"), (9.0, "late")]:
        agenda.enter(at, happened.append, what)

    agenda.run(until=5.0)

    assert happened == ["a", "b", "c"]
    assert agenda.now == 5.0


def test_a_run_ends_when_it_is_over():
    agenda = kernel.Agenda()
    happened = []
    for at in (1.0, 2.0, 3.0):
        agenda.enter(at, happened.append, at)

    agenda.run(until=5.0, is_over=lambda: len(happened) == 2)

    assert happened == [1.0, 2.0]
    assert agenda.now == 2.0


def test_streams_of_chance_repeat_by_seed_and_differ_by_name():
    def first(seed, name):
        return kernel.stream(seed, name).random()

    assert first(1, "fleet") == first(1, "fleet")
    assert len({first(1, "fleet"), first(2, "fleet"), first(1, "lies")}) == 3


def test_machines_stay_and_leave_as_long_as_said_on_average():
    churn = Churn(on_mean=100.0, on_shape=0.8, off_mean=50.0, off_sigma=0.5)
    chance = kernel.stream(1, "churn")

    stays = [churn.on(chance) for _ in range(20_000)]
    pauses = [churn.off(chance) for _ in range(20_000)]

    assert churn.share_on == pytest.approx(2 / 3)
    assert statistics.mean(stays) == pytest.approx(100.0, rel=0.05)
    assert statistics.mean(pauses) == pytest.approx(50.0, rel=0.05)


def test_who_is_seen_at_any_time_stays_as_the_theory_of_renewal_says():
    churn = Churn(on_mean=100.0, on_shape=0.8, off_mean=50.0, off_sigma=0.5)
    chance = kernel.stream(2, "churn")

    seen = [churn.on_left(chance) for _ in range(40_000)]
    stays = [churn.on(chance) for _ in range(40_000)]

    expected = statistics.mean(each**2 for each in stays) / (2 * statistics.mean(stays))
    assert statistics.mean(seen) == pytest.approx(expected, rel=0.06)


def chunk(*, lie=0.0, place=0.5, has_gold=False):
    made = Chunk(
        1, 60.0, chance=int(lie * 2**32) << Lot.CONCERT | int(place * 2**32) << Lot.PICTURE
    )
    made.has_gold = has_gold
    return made


def machine(cheat=None, **fields):
    return Machine(number=1, speed=1.0, leaves_at=1e9, cheat=cheat, answered=101, **fields)


def liar(noise=0.0):
    return lies.Liar(kernel.stream(1, "lies"), noise=noise)


def test_an_honest_machine_is_right_and_passes_the_gold_picture():
    answer = liar().answer(chunk(has_gold=True), machine(), now=5.0)

    assert (answer.token, answer.harm, answer.passed_gold, answer.at) == (RIGHT, 0.0, True, 5.0)


def test_other_digits_differ_from_everything_and_harm_nobody():
    speaks = liar(noise=1.0)

    one, other = (speaks.answer(chunk(), machine(), now=0.0) for _ in range(2))

    assert len({RIGHT, lies.CONCERTED, one.token, other.token}) == 4
    assert (one.harm, other.harm) == (0.0, 0.0)


def test_a_ring_tells_one_lie_about_the_chunks_it_chose():
    first, second = machine(cheats.COLLUDING), machine(cheats.COLLUDING)
    speaks = liar()

    lied = [speaks.answer(chunk(lie=0.05), each, now=0.0).token for each in (first, second)]
    honest = speaks.answer(chunk(lie=0.5), first, now=0.0).token

    assert lied == [lies.CONCERTED, lies.CONCERTED]
    assert honest == RIGHT


@pytest.mark.parametrize(("place", "passed"), [(0.01, False), (0.5, True)])
def test_whoever_spoils_one_picture_hits_the_gold_one_only_by_chance(place, passed):
    spoiled = chunk(lie=0.1, place=place, has_gold=True)

    answer = liar().answer(spoiled, machine(cheats.ONE_PICTURE), now=0.0)

    assert (answer.passed_gold, answer.harm) == (passed, 1 / PICTURES)


def test_a_sleeper_is_honest_until_it_wakes():
    asleep = machine(cheats.SLEEPERS)
    asleep.answered = 100

    assert liar().answer(chunk(), asleep, now=0.0).token == RIGHT
    asleep.answered = 101
    assert liar().answer(chunk(), asleep, now=0.0).token == lies.CONCERTED
