"""Styles, the shipped generator, and strips of its beats."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from made_beats import patient

from vitalwire_edge.inference import selftest
from vitalwire_edge.inference.generator import (
    CLASSES,
    COMPONENTS,
    LATENT,
    BeatGenerator,
    Manner,
    Style,
    StyleError,
    StylePrior,
    manners_of,
    network_inputs,
    shipped,
)
from vitalwire_edge.inference.runtime import load
from vitalwire_edge.recordings.locate import open_recording
from vitalwire_edge.recordings.recording import Recording
from vitalwire_edge.signal.chain import EcgChain
from vitalwire_edge.synthesis.patient import Wish, generated, shares_of, style_of
from vitalwire_edge.synthesis.rhythm import RHYTHMS


@pytest.fixture(scope="module")
def artifact():
    return shipped()


@pytest.fixture(scope="module", params=["gan", "vae"])
def generator(request, artifact):
    return BeatGenerator.of(artifact, request.param)


def strip(generator, **wish):
    return generated(generator, Wish(**wish), name="strip")


def test_the_shipped_generator_runs_here_as_where_it_was_made(artifact):
    tested = selftest.run(artifact, load)
    assert tested.worst_error <= 1
    card = artifact.parts["card.json"]
    for said in (b"ODC-By 1.0", b"Moody", b"seed", b'"208"'):
        assert said in card


def test_classes_are_told_apart_and_seeds_repeat(generator):
    style = generator.styles.draw(np.random.default_rng(3))
    made = {name: generator.beats([name] * 40, [style] * 40, np.random.default_rng(1)) for name in CLASSES}
    for beats in made.values():
        assert np.isfinite(beats).all()
        assert np.abs(beats).max() < 8
    off = {name: np.linalg.norm(beats - style.reference, axis=1).mean() for name, beats in made.items()}
    assert off["N"] < 0.7 * off["V"]
    again = generator.beats(["V"] * 40, [style] * 40, np.random.default_rng(1))
    assert np.array_equal(again, made["V"])


@pytest.mark.parametrize("rhythm", RHYTHMS)
def test_a_strip_beats_where_it_says(generator, rhythm):
    made = strip(generator, rhythm=rhythm, seconds=40, rate_bpm=72, seed=6)
    assert made.uv.size == 10_000
    assert np.isfinite(made.uv).all()
    assert 200 < np.ptp(made.uv) < 12_000
    assert made.rhythms[0].sample == 0
    assert np.array_equal(made.uv, strip(generator, rhythm=rhythm, seconds=40, rate_bpm=72, seed=6).uv)
    out = EcgChain(fs_hz=250).push(0, made.uv.astype(np.float32))
    found = np.array([beat.sample for beat in out.beats])
    normal = [beat.sample for beat in made.beats if beat.symbol == "N" and 1000 < beat.sample < 9800]
    assert np.mean([np.abs(found - at).min() <= 20 for at in normal]) > 0.85


def test_a_long_pause_is_no_dead_line_and_no_step(generator):
    made = strip(generator, rhythm="sinus", seconds=30, rate_bpm=35, seed=2)
    steps = np.abs(np.diff(made.uv))
    first, second = made.beats[5].sample, made.beats[6].sample
    pause = steps[first + 150 : second - 60]
    assert (pause > 0).mean() > 0.95
    assert pause.max() < 0.5 * steps.max()


def test_any_rate_keeps_beats_in_place(generator):
    slow, fast = (strip(generator, seconds=10, rate_bpm=70, fs_hz=fs, seed=4) for fs in (250.0, 500.0))
    assert fast.uv.size == 2 * slow.uv.size
    assert [beat.sample for beat in fast.beats] == [2 * beat.sample for beat in slow.beats]


def test_a_style_is_taken_from_a_recording(generator, recordings):
    recording = open_recording("208", data=recordings / "mitdb")
    style = style_of(recording, generator.styles)
    assert {"N", "V"} <= set(style.manners)
    assert 0.4 < style.rr_s < 1.0
    beats = generator.beats(["N"] * 50, [style] * 50, np.random.default_rng(0))
    like = [np.corrcoef(beat, style.reference)[0, 1] for beat in beats]
    assert np.median(like) > 0.9
    assert np.ptp(generator.beats(["V"] * 50, [style] * 50, np.random.default_rng(0)), axis=1).max() < 5
    without = style_of(replace(recording, beats=()), generator.styles)
    assert set(without.manners) == {"N"}


def test_too_few_beats_tell_no_style(artifact):
    styles = StylePrior.unpack(artifact.parts["styles.npz"])
    with pytest.raises(StyleError, match="too few beats"):
        style_of(Recording(name="flat", lead="II", fs_hz=250, uv=np.zeros(5000)), styles)
    with pytest.raises(StyleError, match="at least 20"):
        manners_of(np.zeros((5, COMPONENTS), dtype=np.float32), np.array(["N"] * 5))


def test_manners_say_what_was_seen(artifact):
    styles = StylePrior.unpack(artifact.parts["styles.npz"])
    known = patient(1)
    manners = manners_of(styles.parts(known.beat, known.reference), known.label)
    style = Style(known.reference[0], manners, 1000.0, 0.8)
    assert style.manner("V").known
    assert not Style(known.reference[0], {"N": manners["N"]}, 1000.0, 0.8).manner("V").known
    noise, kind, reference, manner = network_inputs(["V"] * 400, [style] * 400, np.random.default_rng(0))
    assert kind[:, 2].all()
    assert reference.shape == (400, 200)
    assert manner[0, -1] == 1
    strays = noise[:, LATENT:]
    assert strays.std() == pytest.approx(style.manner("V").strays.std(), rel=0.3)


def test_a_stray_is_a_mixture_and_no_copy():
    rng = np.random.default_rng(0)
    manner = Manner(
        np.zeros(COMPONENTS, np.float32), rng.standard_normal((50, COMPONENTS)).astype("f4"), True
    )
    for _ in range(50):
        stray = manner.draw(rng)
        cosine = manner.strays @ stray / np.linalg.norm(manner.strays, axis=1) / np.linalg.norm(stray)
        assert np.abs(cosine).max() < 0.995


def test_styles_of_nobody_are_nobodys(artifact):
    styles = StylePrior.unpack(artifact.parts["styles.npz"])
    assert StylePrior.unpack(styles.pack()).pack() == styles.pack()
    drawn = [styles.draw(np.random.default_rng(k)) for k in range(30)]
    assert all(0.9 < np.ptp(style.reference) < 2 for style in drawn)
    apart = [np.linalg.norm(a.reference - b.reference) for a, b in pairwise(drawn)]
    assert min(apart) > 0.1
    with pytest.raises(StyleError, match=r"styles.npz"):
        StylePrior.unpack(b"nothing")


def test_another_artifact_is_no_generator(artifact):
    with pytest.raises(StyleError, match="it is no generator"):
        BeatGenerator.of(replace(artifact, parts={}))


def test_shares_are_read():
    assert shares_of("N:0.9, v:0.1") == {"N": 0.9, "V": 0.1}
    with pytest.raises(ValueError, match="write them as"):
        shares_of("N0.9")
