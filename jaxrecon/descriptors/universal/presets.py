"""The preset of universal fingerprints."""

from jaxrecon.descriptors.preset import Preset
from jaxrecon.descriptors.universal.universal import Universal

PRESETS: dict[str, Preset] = {
    "universal": Preset(Universal, {"poolings": ("mean", "moment2")}),
}
"""The preset by name: rows of the class with its defaults, 117 numbers whatever the elements."""
