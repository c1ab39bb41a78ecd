"""What the help says of the presets of fingerprints, as it can't read the registry without JAX."""

PRESETS = {
    "default": "symmetry functions within 12 Angstrom, for free structures",
    "cluster": "the same with more angles, for more than 17 atoms of one element",
    "crystal": "as default, of lower exponents within 6 Angstrom, with all periodic images",
    "fung2022": "symmetry functions within 20 Angstrom of Fung et al., arXiv 2207.13227",
    "gastegger2018": "weighted symmetry functions, 64 numbers whatever the elements",
    "bonds": "symmetry functions of bonds and their angles, to learn energies from",
    "soap": "smooth overlap of atomic positions (SOAP) within 8 Angstrom",
    "average_dscribe": "SOAP, averaged over the atoms as by DScribe",
    "cgap2017": "SOAP of the potential C-GAP-17, for carbon",
    "chong2023_si": "SOAP of Chong et al., arXiv 2306.15638, for amorphous silicon",
    "chong2023_c": "SOAP of the same source for amorphous carbon",
    "chong2023_gaas": "SOAP of the same source for gallium arsenide",
    "universal": "one length for all elements; formulas are found from it too",
    "alchemical": "the same with alike numbers for alike elements, to learn from",
}
"""A few words on each preset, in the order of the registry."""

LISTED = "listed by `jaxrecon fingerprint --help`"
"""Where the texts are, for the options of other verbs."""

_WIDTH = max(map(len, PRESETS))

TABLE = "\n".join(["\b", "Presets:", *(f"  {name:<{_WIDTH}}  {PRESETS[name]}" for name in PRESETS)])
"""The texts as a part of the help that keeps its lines."""
