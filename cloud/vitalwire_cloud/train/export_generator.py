"""From a fitted generator to a candidate: int8 files of the GAN and the VAE, styles, self-test vectors and card.

Both files are weight-only int8: weights in 8 bits, arithmetic in float. See `docs/decisions/generator.md` for what
the other kinds of quantisation measured.
"""

import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from vitalwire_cloud.models.beat_gan import BeatGenerator
from vitalwire_cloud.registry.publishing import Candidate, Specification, write_candidate
from vitalwire_cloud.train.candidate import CITATIONS
from vitalwire_cloud.train.export import RUNTIME, FittedModelError
from vitalwire_cloud.train.fit_gan import FittedGenerator
from vitalwire_edge.inference.artifact import CARD, PARAMETERS, SELF_TEST, Needs
from vitalwire_edge.inference.generator import (
    CLASSES,
    COMPONENTS,
    FILES,
    MANNER,
    NAME,
    NOISE,
    STYLES,
    Family,
    StylePrior,
    network_inputs,
)
from vitalwire_edge.inference.runtime import load
from vitalwire_edge.inference.selftest import Vectors, pack_vectors
from vitalwire_edge.signal.beats import WINDOW

FITTED: Final = "generator.pt"
FLOAT: Final = "float"
DYNAMIC: Final = "dynamic"
WEIGHTS: Final = "weights"
SELF_TEST_BEATS: Final = 16

NEEDS: Final = Needs(
    arch=("x86_64", "aarch64"),
    variants={RUNTIME: FILES["gan"], "tflite-runtime": FILES["gan"]},
    max_p99_us=20_000,
    max_bytes=600_000,
)


def is_generator(folder: Path) -> bool:
    """Whether `train gan` left this folder."""
    return (folder / FITTED).is_file()


def save(folder: Path, model: FittedGenerator, seed: int) -> None:
    """Leave a fitted generator in a folder. Raises `OSError`."""
    state = {
        "gan": model.gan.state_dict(),
        "vae": model.vae.state_dict(),
        "given": [torch.from_numpy(each) for each in representative(model.styles, seed)],
    }
    torch.save(state, folder / FITTED)
    (folder / STYLES).write_bytes(model.styles.pack())


def saved(folder: Path) -> tuple[dict[Family, BeatGenerator], StylePrior, list[NDArray[np.float32]]]:
    """Networks by family, styles and self-test inputs that `save` left. Raises `FittedModelError`."""
    try:
        state = torch.load(folder / FITTED, weights_only=True)
        networks: dict[Family, BeatGenerator] = {}
        for family in FILES:
            kept = state[family]
            networks[family] = BeatGenerator(kept["basis"], kept["width"]).eval()
            networks[family].load_state_dict(kept)
        styles = StylePrior.unpack((folder / STYLES).read_bytes())
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise FittedModelError(
            f"{folder} holds no fitted generator ({error}): run `vitalwire train gan` first"
        ) from error
    return networks, styles, [each.numpy() for each in state["given"]]


def representative(styles: StylePrior, seed: int) -> list[NDArray[np.float32]]:
    """Inputs for the self-test, of every class: styles of nobody, so that the artifact holds no patient's beat."""
    rng = np.random.default_rng(seed)
    labels = [CLASSES[k % len(CLASSES)] for k in range(SELF_TEST_BEATS)]
    return network_inputs(labels, [styles.draw(rng) for _ in labels], rng)


def variants(network: BeatGenerator) -> dict[str, bytes]:
    """Model files by kind of arithmetic. Needs the extra `train`."""
    import litert_torch  # noqa: PLC0415 - heavy, and absent where the exporter cannot be installed
    from ai_edge_quantizer import quantizer, recipe  # noqa: PLC0415 - as above

    sample = (
        torch.zeros(1, NOISE),
        torch.zeros(1, len(CLASSES)),
        torch.zeros(1, WINDOW),
        torch.zeros(1, MANNER),
    )
    exported = litert_torch.convert(network.eval(), sample)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "float.tflite"
        exported.export(str(path))
        made = {FLOAT: path.read_bytes()}
        for kind, how in ((DYNAMIC, recipe.dynamic_wi8_afp32()), (WEIGHTS, recipe.weight_only_wi8_afp32())):
            maker = quantizer.Quantizer(str(path))
            maker.load_quantization_recipe(how)
            made[kind] = bytes(maker.quantize().quantized_model)
    return made


def generator_candidate(source: Path, out: Path) -> dict[str, int]:
    """Export a fitted generator and write the candidate. Returns the sizes of its parts.

    Raises `FittedModelError`, `OSError`.
    """
    networks, styles, given = saved(source)
    run: dict[str, Any] = msgspec.json.decode((source / "run.json").read_bytes())
    files = {FILES[family]: variants(networks[family])[WEIGHTS] for family in FILES}
    parts = files | {
        STYLES: styles.pack(),
        SELF_TEST: pack_vectors(_self_test(files[FILES["gan"]], given)),
        PARAMETERS: msgspec.json.encode({"classes": CLASSES, "components": COMPONENTS, "noise": NOISE}),
        CARD: msgspec.json.format(msgspec.json.encode(card(run, source)), indent=1),
    }
    specification = Specification(name=NAME, hardware=NEEDS, parts=(FILES["vae"], STYLES))
    write_candidate(out, Candidate(specification=specification, parts=parts))
    return {name: len(data) for name, data in parts.items()}


def _self_test(model: bytes, given: list[NDArray[np.float32]]) -> Vectors:
    runner = load(model, RUNTIME)
    rows = [runner([each[k : k + 1] for each in given])[0] for k in range(given[0].shape[0])]
    outputs = np.concatenate(rows)
    return Vectors(tuple(given), (outputs,), (0.02 * max(1.0, float(np.abs(outputs).max())),))


def card(run: dict[str, Any], source: Path) -> dict[str, Any]:
    """The model card: what it is for, what it learned from, what it was measured to do."""
    figures = source / "figures.json"
    return {
        "model": "class-conditional generator of single beats in a person's style: a Wasserstein GAN with gradient "
        "penalty, and the conditional variational autoencoder that it started from",
        "use": "makes synthetic beats of classes N, S, V and F for demonstrations, tests and augmentation; what it "
        "makes is marked synthetic and is nobody's recording",
        "limits": "one chest lead of adults at rest; V and F of a person of whom none were seen take shapes of the "
        "training patients' kinds",
        "training": run
        | {"data": "MIT-BIH Arrhythmia Database", "licence": "ODC-By 1.0", "citations": list(CITATIONS)},
        "figures": msgspec.json.decode(figures.read_bytes()) if figures.is_file() else {},
    }
