"""The texts about a preset: its model card, its line in a list, its arguments as one types them."""

import json

from mri_zoo.layers.nested import serialized
from mri_zoo.physics.cartesian import Cartesian
from mri_zoo.presets.config import KERAS_ARGUMENTS

_CARD = {
    "data": "Training data",
    "training": "Training",
    "assumed": "Assumed at import",
    "licence": "Licence",
    "limits": "Limits",
}


def model_card(name, config, metadata, address):
    """The text of a preset's README.md; `address` is what `load` finds it by: its name, or the path of its folder."""
    where = "" if address == name else "  # or where this folder is now"
    parts = [
        f"# {name}",
        metadata.get("summary", ""),
        f"`{config['architecture']}({shown_arguments(config['arguments'])})`, {metadata['parameters']:,} parameters.",
        f'```python\nimport mri_zoo\n\nmodel = mri_zoo.load("{address}"){where}\n```',
        f"- scaling: `{json.dumps(config['scaling'])}`\n- sampling: `{json.dumps(config['sampling'])}`",
    ]
    parts += [f"## {title}\n\n{metadata[key]}" for key, title in _CARD.items() if key in metadata]
    if metadata.get("quality"):
        parts.append("## Measured quality\n\n" + table(metadata["quality"]))
    parts.append(f"SHA-256 of `model.weights.h5`: `{metadata['sha256']}`")
    return "\n\n".join(part for part in parts if part) + "\n"


def shown_arguments(config):
    """Arguments as one types them, without those that Keras adds and the physics that is every model's default."""
    default = serialized(Cartesian())
    shown = {key: value for key, value in config.items() if key not in KERAS_ARGUMENTS and value != default}
    return ", ".join(f"{key}={_shown(value)}" for key, value in shown.items())


def _shown(value):
    if isinstance(value, dict) and "class_name" in value:
        return f"{value['class_name']}({shown_arguments(value['config'])})"
    return repr(value)


def table(rows):
    """The lines of a Markdown table of dicts."""
    keys = list(rows[0])
    lines = [keys, ["---"] * len(keys), *([str(row[key]) for key in keys] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
