"""From a publishing gateway to the store and back to what the gateway is told, with nothing lost or stored twice."""

import json
import random
import sqlite3
import threading
import time

import numpy as np
import pytest
from cloud_parts import wait_for
from raw_gateway import SAMPLES, SECOND_NS, SITE, ecg

from vitalwire_edge.wire.messages import Skip, encode_data
from vitalwire_edge.wire.topics import device_topic


def test_everything_is_stored_then_confirmed_and_reads_back(broker, clouds, gateways):
    cloud = clouds(broker)
    gateway = gateways(broker.port, cloud.new_key())
    cloud.start()
    gateway.birth()
    gateway.send_blocks(ecg(30))
    for _ in range(10):
        gateway.send_vitals()
        gateway.send_beat()
    gateway.send_alarm("a-1", "raised")
    assert gateway.all_confirmed(20)
    assert gateway.low_water("ecg") == 30
    assert cloud.stream("ecg") | {"latency_ms": 0} == {
        "gateway": "gw-1",
        "device": "w-1",
        "stream": "ecg",
        "code": 131329,
        "messages": 30,
        "samples": 30 * SAMPLES,
        "duplicated": 0,
        "skipped": 0,
        "latency_ms": 0,
    }
    assert cloud.stream("vitals")["messages"] == 10
    assert cloud.stream("beat")["messages"] == 10
    found = cloud.audit()
    # A busy machine may leave a gateway that says nothing more for silent: no part of this.
    heard = [alarm for alarm in found["alarms"] if alarm["kind"] != "gateway_silent"]
    assert [(a["alarm_id"], a["state"]) for a in heard] == [("a-1", "active")]
    assert heard[0]["stored_ns"] > heard[0]["raised_ns"]
    assert (found["conflicts"], found["quarantined"]) == (0, 0)
    assert cloud.stop() == 0


def test_twice_and_in_any_order_is_stored_once(broker, clouds, gateways):
    cloud = clouds(broker)
    gateway = gateways(broker.port, cloud.new_key())
    cloud.start()
    gateway.birth()
    for samples in ecg(60):
        block = gateway.block(samples)
        gateway.keep("ecg", block.seq, encode_data(block))
    every = list(gateway.pending().items()) * 2
    random.Random(7).shuffle(every)
    topic = device_topic(SITE, "gw-1", "w-1", "ecg")
    for _, payload in every:
        gateway.publish(topic, payload)
    assert gateway.all_confirmed(20)
    wait_for(lambda: cloud.audit()["duplicates"] == 60, "counting of every duplicate")
    ecg_proof = cloud.stream("ecg")
    assert (ecg_proof["samples"], ecg_proof["duplicated"]) == (60 * SAMPLES, 0)
    assert cloud.audit()["conflicts"] == 0


def test_a_duplicate_is_confirmed_again_when_the_first_confirmation_was_lost(
    embedded_broker, clouds, gateways
):
    cloud = clouds(embedded_broker)
    key = cloud.new_key()
    gateway = gateways(embedded_broker.port, key)
    cloud.start()
    gateway.birth()
    gateway.send_blocks(ecg(3))
    kept = gateway.pending()
    assert gateway.all_confirmed(10)
    told = gateway.told
    for (stream, seq), payload in kept.items():
        gateway.keep(stream, seq, payload)
    gateway.resend()
    assert gateway.all_confirmed(10)
    assert gateway.told > told


def test_a_birth_is_answered_with_all_that_is_stored(embedded_broker, clouds, gateways):
    cloud = clouds(embedded_broker)
    gateway = gateways(embedded_broker.port, cloud.new_key())
    cloud.start()
    gateway.birth()
    gateway.send_blocks(ecg(5))
    assert gateway.all_confirmed(10)
    cloud.kill()
    cloud.start()
    told = gateway.told
    gateway.birth()
    wait_for(lambda: gateway.told > told, "an answer to the birth")
    assert gateway.low_water("ecg") == 5


def test_what_a_gateway_gave_up_counts_as_confirmed_and_is_reported(embedded_broker, clouds, gateways):
    cloud = clouds(embedded_broker)
    gateway = gateways(embedded_broker.port, cloud.new_key())
    cloud.start()
    gateway.birth()
    skip = Skip(session="s-1", first=0, last=9, samples=10 * SAMPLES, reason="spool full")
    for _ in range(10):
        gateway.take("ecg")
    gateway.publish(device_topic(SITE, "gw-1", "w-1", "ecg"), encode_data(skip))
    gateway.send_blocks(ecg(2))
    assert gateway.all_confirmed(10)
    assert gateway.low_water("ecg") == 12
    assert cloud.stream("ecg")["skipped"] == 10 * SAMPLES


@pytest.mark.timeout(180)
def test_nothing_confirmed_is_missing_after_the_service_was_killed(broker, clouds, gateways):
    """The order store, acknowledge, confirm: what a gateway was told is in the store at every kill."""
    cloud = clouds(broker)
    gateway = gateways(broker.port, cloud.new_key())
    blocks = ecg(150)
    rng = random.Random(3)
    for part in range(3):
        cloud.start()
        gateway.birth()
        gateway.resend()
        for samples in blocks[part * 50 : part * 50 + 50]:
            block = gateway.block(samples)
            gateway.keep("ecg", block.seq, encode_data(block))
            gateway.send(("ecg", block.seq))
        wait_for(lambda: gateway.low_water("ecg") > part * 50 + rng.randrange(1, 30), "some confirmation")  # noqa: B023
        cloud.kill()
        # Read after the kill: only what was durable is left, and all that was confirmed must be in it.
        confirmed = gateway.low_water("ecg")
        assert cloud.stream("ecg")["samples"] >= confirmed * SAMPLES
    cloud.start()
    gateway.birth()
    gateway.resend()
    assert gateway.all_confirmed(30, resend_every_s=3)
    ecg_proof = cloud.stream("ecg")
    assert (ecg_proof["samples"], ecg_proof["duplicated"]) == (150 * SAMPLES, 0)
    assert gateway.low_water("ecg") == 150


def test_a_broker_that_dies_and_forgets_everything_costs_nothing(broker, clouds, gateways):
    cloud = clouds(broker)
    gateway = gateways(broker.port, cloud.new_key())
    cloud.start()
    gateway.birth()
    gateway.send_blocks(ecg(20))
    broker.kill()
    wait_for(lambda: cloud.get("/readyz")[0] == 503, "unreadiness without a broker")
    assert "broker" in cloud.get("/readyz")[1]
    assert cloud.get("/healthz")[0] == 200
    broker.start()
    wait_for(lambda: cloud.get("/readyz")[0] == 200, "readiness with the broker back", 40)
    gateway.send_blocks(ecg(20, seed=2))
    assert gateway.all_confirmed(40, resend_every_s=3)
    assert cloud.stream("ecg")["samples"] == 40 * SAMPLES


def test_bad_messages_are_set_aside_with_their_reason_and_hold_nothing_up(broker, clouds, gateways):
    cloud = clouds(broker)
    gateway = gateways(broker.port, cloud.new_key())
    cloud.start()
    gateway.birth()
    samples = ecg(6)
    topic = device_topic(SITE, "gw-1", "w-1", "ecg")
    year_1970 = gateway.block(samples[0], start_ns=1)
    in_a_week = gateway.block(samples[1], start_ns=time.time_ns() + 7 * 86_400 * SECOND_NS)
    broken_codec = gateway.block(samples[2], data=b"\x03nonsense", codec=1)
    on_wrong_topic = gateway.block(samples[3])
    for block in (year_1970, in_a_week, broken_codec):
        gateway.keep("ecg", block.seq, encode_data(block))
        gateway.publish(topic, encode_data(block))
    gateway.publish(device_topic(SITE, "gw-1", "w-1", "vitals"), encode_data(on_wrong_topic))
    gateway.publish(topic, b"\xff\x00garbage")
    gateway.publish(topic, b"")
    gateway.publish(f"v1/{SITE}/gw-1/W_1/ecg", encode_data(on_wrong_topic))
    gateway.publish(f"v1/{SITE}/gw-1/birth", b"{]")
    gateway.keep("ecg", on_wrong_topic.seq, encode_data(on_wrong_topic))
    gateway.send(("ecg", on_wrong_topic.seq))
    gateway.send_blocks(samples[4:])
    assert gateway.all_confirmed(20), gateway.pending().keys()
    assert gateway.low_water("ecg") == 6
    assert cloud.stream("ecg")["samples"] == 3 * SAMPLES
    wait_for(lambda: cloud.audit()["quarantined"] == 8, "eight messages in quarantine")
    listed = cloud.command("quarantine", "list")
    assert listed.returncode == 0
    for word in (
        "before 2020",
        "too far in the future",
        "rice block",
        "another stream",
        "not a data message",
        "W_1",
    ):
        assert word in listed.stdout
    as_json = json.loads(cloud.command("quarantine", "list", "--json", "--limit", "2").stdout)
    assert len(as_json) == 2
    assert cloud.get("/readyz")[0] == 200


def test_a_clock_that_says_it_is_not_synchronised_is_believed(embedded_broker, clouds, gateways):
    cloud = clouds(embedded_broker)
    gateway = gateways(embedded_broker.port, cloud.new_key())
    cloud.start()
    gateway.birth()
    block = gateway.block(ecg(1)[0], start_ns=5 * SECOND_NS, flags=1)
    gateway.keep("ecg", block.seq, encode_data(block))
    gateway.resend()
    assert gateway.all_confirmed(10)
    assert cloud.stream("ecg")["samples"] == SAMPLES
    assert cloud.audit()["quarantined"] == 0


@pytest.mark.timeout(180)
def test_a_full_store_confirms_nothing_and_loses_nothing(embedded_broker, clouds, gateways):
    cloud = clouds(embedded_broker, "store.max_bytes=1048576")
    gateway = gateways(embedded_broker.port, cloud.new_key())
    cloud.start()
    gateway.birth()
    rng = np.random.default_rng(5)
    noise = list(rng.integers(-30000, 30000, (2200, SAMPLES)).astype(np.int16))
    gateway.start_ns -= 2200 * SECOND_NS
    gateway.send_blocks(noise)
    wait_for(lambda: cloud.get("/readyz")[0] == 503, "unreadiness with a full store", 60)
    assert "full" in cloud.get("/readyz")[1]
    assert cloud.get("/healthz")[0] == 200
    confirmed = gateway.low_water("ecg")
    assert 0 < confirmed < 2200
    assert cloud.stop() == 0
    assert cloud.stream("ecg")["samples"] >= confirmed * SAMPLES
    cloud.start("store.max_bytes=8388608")
    gateway.birth()
    gateway.resend()
    assert gateway.all_confirmed(60, resend_every_s=5)
    ecg_proof = cloud.stream("ecg")
    assert (ecg_proof["samples"], ecg_proof["duplicated"]) == (2200 * SAMPLES, 0)


def test_an_unknown_device_makes_the_cloud_ask_for_births(embedded_broker, clouds, gateways):
    cloud = clouds(embedded_broker)
    gateway = gateways(embedded_broker.port, cloud.new_key())
    cloud.start()
    gateway.send_blocks(ecg(2))
    assert gateway.commands.get(timeout=10).command == "rebirth"
    assert gateway.all_confirmed(10)
    gateway.birth()
    wait_for(lambda: "w-1" in cloud.get("/api/v1/devices")[1], "the device in the list")
    # From now on the store knows it: a restarted service asks at once, before any data.
    cloud.kill()
    cloud.start()
    assert gateway.commands.get(timeout=10).command == "rebirth"


def test_without_a_key_data_is_stored_and_confirmed_once_there_is_one(embedded_broker, clouds, gateways):
    cloud = clouds(embedded_broker)
    key = cloud.new_key()
    (cloud.keys / "gw-1.key").rename(cloud.keys / "away")
    gateway = gateways(embedded_broker.port, key)
    cloud.start()
    gateway.birth()
    gateway.send_blocks(ecg(4))
    wait_for(lambda: cloud.audit()["streams"], "storage without a key")
    assert cloud.stream("ecg")["samples"] == 4 * SAMPLES
    assert gateway.told == 0
    assert "gateway_key_missing" in cloud.log.read_text()
    assert "vitalwire_ingest_gateways_without_key 1.0" in cloud.get("/metrics")[1]
    (cloud.keys / "away").rename(cloud.keys / "gw-1.key")
    assert gateway.all_confirmed(30, resend_every_s=2)
    assert cloud.stream("ecg")["samples"] == 4 * SAMPLES


def test_one_name_at_two_sites_is_refused_not_mixed(embedded_broker, clouds, gateways):
    cloud = clouds(embedded_broker)
    key = cloud.new_key()
    gateway = gateways(embedded_broker.port, key)
    cloud.start()
    gateway.birth()
    gateway.send_blocks(ecg(2))
    assert gateway.all_confirmed(10)
    block = gateway.block(ecg(1)[0])
    gateway.publish(device_topic("ward-4", "gw-1", "w-1", "ecg"), encode_data(block))
    wait_for(lambda: cloud.audit()["quarantined"] == 1, "the stranger in quarantine")
    assert "unique over all sites" in cloud.command("quarantine", "list").stdout
    assert cloud.stream("ecg")["samples"] == 2 * SAMPLES


@pytest.mark.timeout(180)
def test_a_locked_store_holds_everything_up_in_bounded_memory_and_then_takes_it(broker, clouds, gateways):
    cloud = clouds(broker, "ingest.queue_messages=200", "mqtt.receive_maximum=100", "mqtt.keepalive_s=5")
    gateway = gateways(broker.port, cloud.new_key())
    cloud.start()
    gateway.birth()
    gateway.start_ns -= 3000 * SECOND_NS
    gateway.send_blocks(ecg(2))
    assert gateway.all_confirmed(10)
    intruder = sqlite3.connect(cloud.data / "store.sqlite", isolation_level=None)
    intruder.execute("BEGIN IMMEDIATE")
    gateway.send_blocks(ecg(1500, seed=4))
    wait_for(lambda: cloud.get("/readyz")[0] == 503, "unreadiness with a locked store")
    assert "locked" in cloud.get("/readyz")[1]
    # Longer than the keep-alive: a reader that stopped reading must come back by itself.
    threading.Event().wait(12)
    held = [
        line
        for line in cloud.get("/metrics")[1].splitlines()
        if line.startswith("vitalwire_ingest_queue_messages ")
    ]
    assert float(held[0].split()[1]) <= 200
    assert gateway.low_water("ecg") == 2
    intruder.execute("ROLLBACK")
    intruder.close()
    assert gateway.all_confirmed(90, resend_every_s=5)
    ecg_proof = cloud.stream("ecg")
    assert (ecg_proof["samples"], ecg_proof["duplicated"]) == (1502 * SAMPLES, 0)
    assert cloud.get("/readyz")[0] == 200
