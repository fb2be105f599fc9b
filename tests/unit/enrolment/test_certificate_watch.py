"""How long the certificate lasts, on the gateway's page and in its metrics; a wrong clock counts nothing."""

import datetime as dt
from types import SimpleNamespace

import msgspec
import pytest

from vitalwire_cloud.enrolment.authority import Authority
from vitalwire_edge import status
from vitalwire_edge.clock.gateway_clock import Stamp
from vitalwire_edge.enrolment.watch import CertificateWatch

MADE = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority.create(tmp_path / "authority", tmp_path / "keys", now=MADE)


@pytest.fixture
def watch(authority, tmp_path) -> CertificateWatch:
    certificate, _ = authority.service("cloud", [], tmp_path, now=MADE, days=90)
    return CertificateWatch(certificate)


def after(days: float, *, synchronised: bool = True) -> Stamp:
    return Stamp(0, round((MADE.timestamp() + days * 86_400) * 1e9), synchronised)


def page(watch: CertificateWatch, now: Stamp) -> str:
    link = SimpleNamespace(up=True, unconfirmed=0, certificate=watch)
    return status.page(
        status.StatusPage(
            site="ward",
            gateway="gw-a",
            software="1",
            at_ns=now.utc_ns,
            clock_synchronised=now.synchronised,
            problems=(),
            link=status.LinkView.of(link, now),
            spool=status.SpoolView(0, 0, None),
            model=status.ModelView(1, on_probation=False, problem=None),
            alarms=status.AlarmsView({}, 0),
            sources=(),
            devices=(),
        )
    )


def test_days_are_counted_and_become_a_problem_thirty_days_before_the_end(watch):
    assert watch.days_left(after(10).utc_ns) == pytest.approx(80)
    assert watch.gauges(after(10))["certificate_days_left"] == pytest.approx(80)
    assert watch.problem(after(59)) is None
    assert str(watch.problem(after(80))).startswith("the certificate ends in 10 days (2026-05-30)")
    assert "ended 5 days ago" in str(watch.problem(after(95)))
    assert "valid to 2026-05-30, 80 days left" in page(watch, after(10))


def test_a_clock_that_may_be_wrong_counts_no_days(watch):
    wrong = after(-20_000, synchronised=False)
    assert watch.problem(wrong) is None
    assert "certificate_days_left" not in watch.gauges(wrong)
    assert "valid to 2026-05-30<" in page(watch, wrong)


def test_without_a_certificate_there_is_nothing_to_say():
    watch = CertificateWatch(None)
    assert not watch.replaced()
    assert watch.gauges(after(0)) == {}
    assert watch.problem(after(0)) is None
    assert "<td>Certificate</td><td>none</td>" in page(watch, after(0))
    assert msgspec.to_builtins(status.LinkView(up=True, unconfirmed=0))["certificate_expires"] is None


def test_another_certificate_is_seen_once_and_a_file_that_is_none_is_not(watch, authority, tmp_path):
    file = tmp_path / "cloud.crt"
    assert not watch.replaced()
    file.write_text("-----BEGIN CERT")
    assert not watch.replaced()
    file.unlink()
    assert not watch.replaced()
    assert watch.days_left(after(0).utc_ns) == pytest.approx(90)
    fresh, _ = authority.service("cloud", [], tmp_path / "fresh", now=MADE, days=120)
    fresh.rename(file)
    assert watch.replaced()
    assert not watch.replaced()
    assert watch.days_left(after(0).utc_ns) == pytest.approx(120)
