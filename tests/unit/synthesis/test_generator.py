import numpy as np
import pytest
import torch

from vitalwire_cloud.models.beat_gan import BeatGenerator, Critic, critic_loss
from vitalwire_edge.inference.generator import CLASSES, NOISE, RhythmError, intervals, strip
from vitalwire_edge.signal.beats import WINDOW


def _reference_only(inputs):
    return (inputs[2],)


def _bump():
    reference = np.zeros(WINDOW, dtype=np.float32)
    reference[60:100] = np.hanning(40)
    return reference


@pytest.mark.parametrize("rhythm", ["sinus", "pvc", "af"])
def test_a_strip_has_the_length_asked_for_and_repeats_with_its_seed(rhythm):
    first, again = (
        strip(_reference_only, _bump(), rhythm=rhythm, seconds=12, fs_hz=250.0, seed=3) for _ in range(2)
    )
    assert first.ecg.shape == (3000,)
    assert np.isfinite(first.ecg).all()
    assert (np.diff(first.peaks) > 0).all()
    assert first.peaks[-1] < 3000
    assert np.array_equal(first.ecg, again.ecg)


def test_ectopic_beats_come_early_and_are_followed_by_a_pause():
    timed = intervals("pvc", seconds=300, rate_bpm=60, rng=np.random.default_rng(0))
    at = np.array([each for each, _ in timed])
    early = np.flatnonzero([name == "V" for _, name in timed])[:-1]
    assert early.size > 10
    assert (at[early] - at[early - 1] < 0.75).all()
    assert (at[early + 1] - at[early] > 1.2).all()


def test_fibrillation_is_less_regular_than_sinus():
    spread = {
        rhythm: np.diff(
            [at for at, _ in intervals(rhythm, seconds=300, rate_bpm=70, rng=np.random.default_rng(0))]
        ).std()
        for rhythm in ("sinus", "af")
    }
    assert spread["af"] > 3 * spread["sinus"]


def test_an_unknown_rhythm_is_refused():
    with pytest.raises(RhythmError, match="flutter"):
        intervals("flutter", seconds=1, rate_bpm=60, rng=np.random.default_rng(0))


def test_the_penalty_reaches_the_critic_and_beats_have_the_windows_shape():
    torch.manual_seed(0)
    generator, critic = BeatGenerator(), Critic()
    kind, reference = torch.eye(len(CLASSES)), torch.zeros(4, WINDOW)
    made = generator(torch.randn(4, NOISE), kind, reference)
    assert made.shape == (4, WINDOW)
    critic_loss(critic, torch.randn(4, WINDOW), made.detach(), kind, reference).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in list(critic.parameters())[:-1])
