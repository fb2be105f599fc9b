"""The scenario: a small readable file that says who is monitored and what happens, and when.

Times are seconds since the first sample of every device. The script plays once; with `repeat_s` it plays again every
so many seconds. A round that would not fit wholly into a run is left out, and so is an episode that would be cut off by
the end of a short run, so nothing goes unraised for lack of time. `ward.toml` is a complete example.
"""

import tomllib
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

import msgspec

from vitalwire_edge.wire.codes import LEADS, Code
from vitalwire_edge.wire.topics import TopicError, identifier
from vitalwire_sim.kinds import KINDS, RHYTHMS
from vitalwire_sim.physiology.patient import Patient
from vitalwire_sim.script import FOREVER_S, Occurrence, Script

EpisodeKind = Literal[
    "pvc_run",
    "vt",
    "af",
    "tachycardia",
    "bradycardia",
    "asystole",
    "vf",
    "desaturation",
    "fever",
    "lead_off",
    "motion",
    "frame_drop",
    "frame_reorder",
    "clock_drift",
    "low_battery",
]
_MAX_DEVICE_NAME: Final = 16
_LEAD_NAMES: Final = {name: code for code, name in LEADS.items()}


class ScenarioError(ValueError):
    """A scenario cannot be used; the message names the file, the place in it and the fix."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file: unknown keys are errors."""


class Episode(_Part, frozen=True, kw_only=True):
    """Something that happens to a device. `onset_s` replaces the kind's time constant: a demo cannot wait."""

    kind: EpisodeKind
    start_s: float
    duration_s: float
    strength: float = 1.0
    onset_s: float | None = None

    def __post_init__(self) -> None:
        _time("start_s", self.start_s, low=0)
        _time("duration_s", self.duration_s, low=0.1)
        if not 0 < self.strength <= 2:
            raise ValueError(f"strength = {self.strength}: use more than 0 and at most 2")
        if self.onset_s is not None:
            _time("onset_s", self.onset_s, low=0)

    @property
    def end_s(self) -> float:
        """Exclusive end."""
        return self.start_s + self.duration_s


class LinkLoss(_Part, frozen=True, kw_only=True, tag_field="kind", tag="link_loss"):
    """A gateway cannot reach the broker for a while."""

    gateway: str
    start_s: float
    duration_s: float

    def __post_init__(self) -> None:
        _time("start_s", self.start_s, low=0)
        _time("duration_s", self.duration_s, low=0.1)


class CloudRestart(_Part, frozen=True, kw_only=True, tag_field="kind", tag="cloud_restart"):
    """The cloud service is killed and started again."""

    start_s: float

    def __post_init__(self) -> None:
        _time("start_s", self.start_s, low=0)


class RadioFaults(_Part, frozen=True, kw_only=True):
    """What the link does to frames all the time: shares of frames sent twice, or with a byte changed."""

    duplicate: float = 0.0
    corrupt: float = 0.0

    def __post_init__(self) -> None:
        for name in ("duplicate", "corrupt"):
            if not 0 <= (share := getattr(self, name)) <= 0.5:
                raise ValueError(f"{name} = {share}: use 0 to 0.5")


class Generated(_Part, frozen=True, kw_only=True):
    """An ECG that the beat generator makes, of nobody: its rhythm and rate, and which generator.

    `classes` are shares of the beats; `seconds` of it are made and then repeat. `seed` None takes the device's own.
    """

    rhythm: str = "sinus"
    rate_bpm: float | None = None
    classes: dict[str, float] | None = None
    family: Literal["gan", "vae"] = "gan"
    seconds: float = 300.0
    seed: int | None = None

    def __post_init__(self) -> None:
        _time("seconds", self.seconds, low=10)


class Device(_Part, frozen=True, kw_only=True):
    """One wearable. `recording` ("toy" or a file) or `generated` replaces the simulated ECG.

    Its other sensors stay simulated.

    `drift_ppm` is how much too fast the device's clock runs.
    """

    name: str
    gateway: str
    recording: str | None = None
    channel: str | None = None
    generated: Generated | None = None
    patient: Patient = Patient()
    lead: str = "ECG"
    fs_hz: int = 250
    scale_uv: float = 2.5
    nibp_every_s: int = 30
    drift_ppm: float = 0.0
    radio: RadioFaults = RadioFaults()
    episodes: tuple[Episode, ...] = ()

    def __post_init__(self) -> None:
        _name(self.name, "device name")
        if len(self.name) > _MAX_DEVICE_NAME:
            raise ValueError(f"device name {self.name!r}: at most {_MAX_DEVICE_NAME} characters")
        if self.lead not in _LEAD_NAMES:
            raise ValueError(f"lead {self.lead!r}: use one of {', '.join(_LEAD_NAMES)}")
        if not 100 <= self.fs_hz <= 1000:
            raise ValueError(f"fs_hz = {self.fs_hz}: use 100 to 1000")
        if not 0.1 <= self.scale_uv <= 100:
            raise ValueError(f"scale_uv = {self.scale_uv}: use 0.1 to 100")
        if self.nibp_every_s < 5:
            raise ValueError(f"nibp_every_s = {self.nibp_every_s}: a cuff needs at least 5")
        if not -1000 <= self.drift_ppm <= 1000:
            raise ValueError(f"drift_ppm = {self.drift_ppm}: use -1000 to 1000")
        if self.channel is not None and self.recording is None:
            raise ValueError(
                f"device {self.name!r}: channel chooses a lead of a recording; give recording too"
            )
        if self.generated is not None and self.recording is not None:
            raise ValueError(f"device {self.name!r} has recording and generated: give one of them")
        _check_episodes(self)

    @property
    def lead_code(self) -> Code:
        """MDC code of the lead that is announced."""
        return _LEAD_NAMES[self.lead]


class Scenario(_Part, frozen=True, kw_only=True):
    """A site with gateways, their wearables and what happens. `seconds` is how long one run of the script takes."""

    site: str
    title: str
    seconds: float
    gateways: tuple[str, ...]
    devices: tuple[Device, ...]
    events: tuple[LinkLoss | CloudRestart, ...] = ()
    repeat_s: float | None = None

    def __post_init__(self) -> None:
        _name(self.site, "site")
        _time("seconds", self.seconds, low=1)
        for gateway in self.gateways:
            _name(gateway, "gateway")
        _unique("gateway", self.gateways)
        _unique("device", [device.name for device in self.devices])
        for device in self.devices:
            _known(f"device {device.name!r}", device.gateway, self.gateways)
        for event in self.events:
            if isinstance(event, LinkLoss):
                _known("link_loss", event.gateway, self.gateways)
        if self.repeat_s is not None and self.repeat_s < self.script_end_s:
            raise ValueError(
                f"repeat_s = {self.repeat_s}: the script lasts {self.script_end_s} s, use at least that"
            )

    @property
    def script_end_s(self) -> float:
        """When the last episode or event of one round is over."""
        ends = [episode.end_s for device in self.devices for episode in device.episodes]
        ends += [e.start_s + e.duration_s if isinstance(e, LinkLoss) else e.start_s for e in self.events]
        return max(ends, default=0.0)

    def device(self, name: str) -> Device:
        """Device `name`. Raises `ScenarioError` naming the known ones."""
        for device in self.devices:
            if device.name == name:
                return device
        known = ", ".join(device.name for device in self.devices)
        raise ScenarioError(f"scenario of {self.site!r} has no device {name!r}: use one of {known}")

    def script(self, device: str, seconds: float | None) -> Script:
        """Everything that happens to `device` in a run of `seconds` (None: without an end)."""
        limit_s = FOREVER_S if seconds is None else seconds
        return Script(
            Occurrence(
                kind=episode.kind,
                start_s=episode.start_s + offset_s,
                end_s=episode.end_s + offset_s,
                strength=episode.strength,
                onset_s=KINDS[episode.kind].onset_s if episode.onset_s is None else episode.onset_s,
            )
            for offset_s in self._rounds(limit_s)
            for episode in self.device(device).episodes
            if episode.end_s + offset_s <= limit_s
        )

    def site_events(self, seconds: float | None) -> Iterator[LinkLoss | CloudRestart]:
        """Events of the site in a run of `seconds`, in order of time."""
        limit_s = FOREVER_S if seconds is None else seconds
        ordered = sorted(self.events, key=lambda event: event.start_s)
        for offset_s in self._rounds(limit_s):
            for event in ordered:
                start_s = event.start_s + offset_s
                end_s = start_s + (event.duration_s if isinstance(event, LinkLoss) else 0)
                if end_s <= limit_s:
                    yield msgspec.structs.replace(event, start_s=start_s)

    def _rounds(self, limit_s: float) -> Iterator[float]:
        """Offsets of the rounds; the first always plays, the others only where they fit wholly."""
        yield 0.0
        if self.repeat_s is not None:
            count = 1
            while count * self.repeat_s + self.script_end_s <= limit_s:
                yield count * self.repeat_s
                count += 1


def parse(text: str, *, source: str) -> Scenario:
    """Scenario of TOML `text`. Raises `ScenarioError` naming `source`, the place and the fix."""
    try:
        return msgspec.convert(tomllib.loads(text), Scenario)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"scenario {source} is not TOML: {error}") from error
    except msgspec.ValidationError as error:
        hint = f"; known kinds: {', '.join(KINDS)}" if "kind" in str(error) else ""
        raise ScenarioError(f"scenario {source}: {error}{hint}") from error


def load(name: str) -> Scenario:
    """Scenario that ships as `name`, or in the file of that path. Raises `ScenarioError`."""
    known = shipped()
    if name in known:
        return parse(known[name].read_text(encoding="utf-8"), source=f"{name}.toml")
    path = Path(name)
    try:
        return parse(path.read_text(encoding="utf-8"), source=name)
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(
            f"no scenario {name!r}: use one of {', '.join(known)}, or the path of a .toml file"
        ) from error


def shipped() -> dict[str, Traversable]:
    """The scenarios that come with the package, by name."""
    folder = resources.files("vitalwire_sim") / "scenarios"
    files = [entry for entry in folder.iterdir() if entry.name.endswith(".toml")]
    return {entry.name.removesuffix(".toml"): entry for entry in sorted(files, key=lambda e: e.name)}


def _time(name: str, value: float, *, low: float) -> None:
    if not low <= value <= FOREVER_S:
        raise ValueError(f"{name} = {value}: use {low} to {FOREVER_S:.0f} seconds")


def _name(text: str, what: str) -> None:
    try:
        identifier(text, what)
    except TopicError as error:
        raise ValueError(str(error)) from error


def _unique(what: str, names: tuple[str, ...] | list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise ValueError(
            f"{what} {twice[0]!r} is there twice: give each its own name" if twice else f"no {what}: add one"
        )


def _known(who: str, gateway: str, gateways: tuple[str, ...]) -> None:
    if gateway not in gateways:
        raise ValueError(f"{who}: unknown gateway {gateway!r}, use one of {', '.join(gateways)}")


def _check_episodes(device: Device) -> None:
    """Raise `ValueError` for episodes that cannot both be true."""
    ordered = sorted(device.episodes, key=lambda e: e.start_s)
    for group in (*[(kind,) for kind in KINDS], RHYTHMS, ("tachycardia", "bradycardia")):
        for first, second in pairwise(e for e in ordered if e.kind in group):
            if second.start_s < first.end_s:
                raise ValueError(
                    f"device {device.name!r}: {second.kind} at {second.start_s} s begins before {first.kind} "
                    f"ends at {first.end_s} s; move one of them"
                )
    if device.recording is not None or device.generated is not None:
        what = "a recording" if device.generated is None else "a generated ECG"
        for episode in ordered:
            if KINDS[episode.kind].cardiac:
                raise ValueError(
                    f"device {device.name!r}: {episode.kind} cannot happen to {what}; simulate the patient"
                )
