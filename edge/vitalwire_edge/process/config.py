"""One layered configuration per process: defaults < TOML file < environment < flags.

The schema is a tree of frozen `msgspec.Struct`s whose defaults are the first layer. A key that the schema does not
know is an error that names it and the nearest known one.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


class ConfigError(ValueError):
    """A configuration layer cannot be used; the message names the layer, the key and the fix."""


def load(
    kind: type[T],
    *,
    path: Path | None = None,
    env_prefix: str,
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> T:
    """Configuration of `kind` from all layers.

    Environment variables are `{env_prefix}_{SECTION}__{KEY}`; keys of `flags` are dotted (`"mqtt.port"`), a flag that
    is None was not given. Raises `ConfigError`.
    """
    tree: dict[str, Any] = {}
    known = set(_keys(kind))
    for layer, pairs in (
        (f"file {path}", _file_pairs(path)),
        ("environment", _environment_pairs(env_prefix, environ, known)),
        ("flags", ((key, value) for key, value in (flags or {}).items() if value is not None)),
    ):
        for key, value in pairs:
            if key not in known:
                raise ConfigError(_unknown(layer, key, known))
            _place(tree, key, value)
    try:
        return msgspec.convert(tree, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"configuration: {error}") from error


def pairs_of(settings: list[str]) -> dict[str, object]:
    """Flags from repeated `--set key=value`. Raises `ConfigError` for a setting without `=`."""
    flags: dict[str, object] = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator:
            raise ConfigError(f"--set {setting!r}: write it as key=value, e.g. mqtt.port=8883")
        flags[key.strip()] = value.strip()
    return flags


def _keys(kind: Any, prefix: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(kind):
        name = f"{prefix}{field.name}"
        yield name
        section = _section(field.type)
        if section is not None:
            yield from _keys(section, f"{name}.")


def _section(annotation: Any) -> type[msgspec.Struct] | None:
    """The struct that `annotation` is, or holds beside None."""
    candidates = (annotation, *getattr(annotation, "__args__", ()))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, msgspec.Struct)), None)


def _file_pairs(path: Path | None) -> Iterator[tuple[str, object]]:
    if path is None:
        return
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"configuration file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration file {path} is not TOML: {error}") from error
    yield from _flatten(tree)


def _flatten(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _environment_pairs(
    prefix: str, environ: Mapping[str, str], known: set[str]
) -> Iterator[tuple[str, object]]:
    head = f"{prefix}_"
    for name, value in environ.items():
        if name.startswith(head):
            key = name.removeprefix(head).lower().replace("__", ".")
            if key not in known:
                raise ConfigError(_unknown(f"environment variable {name}", key, known))
            yield key, value


def _unknown(layer: str, key: str, known: set[str]) -> str:
    near = get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(sorted(known))}"
    return f"{layer}: unknown key {key!r}; {hint}"


def _place(tree: dict[str, Any], key: str, value: object) -> None:
    *sections, name = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[name] = value
