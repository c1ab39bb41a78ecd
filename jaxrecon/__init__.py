"""Recover atomic structures from their structural fingerprints, and design structures with them.

The public names are imported on first use, so that ``import jaxrecon`` takes no time. They stand,
each with its module, in ``__init__.pyi``.

Words that have one meaning in the whole package:

- *environment*: the neighbours of one atom within the cutoff, which a descriptor describes.
- *row*: the numbers of one atom's environment. *Pooling* makes one fingerprint of all rows.
- *fingerprint*: the numbers of one structure; a *feature* is one of them.
- *target*: a fingerprint for which a structure is searched; its *composition* is the list of the
  elements of the atoms.
- *replica*: one candidate structure of a search; all candidates for a target are its *population*.
- *hop*: one round of a search: every replica makes a *move*, a random change of its structure, and
  then a *descent*, a local minimisation. A *restart* begins with new random structures.
- *residual*: mean absolute difference of a fingerprint and its target.
- *position error*: how far an atom may still be from its place with that residual. Where both are
  at or below their *tolerances* a result has *converged*; a *certificate* has the error.
- *soft direction*: a displacement that changes a fingerprint little to first order, or not at all.
- *polish*: to minimise the residual further in float64.
- *evaluation*: one computation of a fingerprint and its derivatives, the unit of cost.
- *padded size*, *bounds*, *capacity*: static array sizes that structures are filled up to, so that
  one compiled program serves many structures.
- *Jacobian*: derivatives of features by positions, and by the cell where it is unknown.
- *selected atom*: the atom with the largest or smallest value of a feature, where such are pooled.
- *attribution*: how much of the residual each atom is responsible for.
- *labelled set*: structures with known energies. Structures of one relaxation are a *trajectory*.
- *training examples*, *validation examples*: what models learn from, and what measures their error.
- *surrogate*: a model that predicts an energy and its uncertainty from a fingerprint, a
  *predictor*, or from the rows of all atoms. Its *deviation* is the uncertainty as a standard
  deviation; *rigidity* is how firmly the training set holds the prediction of one atom. A
  *generator* draws fingerprints for a wanted energy. Both learn in the coordinates of a *scaling*.
- *guidance*: what a search minimises to reach a wanted energy: the miss of the predicted energy,
  its uncertainty with the weight *trust*, and the distance to a drawn fingerprint with the weight
  *pull*.
- *reference calculator*: the method whose energies count as true. To *judge* is to ask it.
- *run*: one call and its *pieces of work*, each of which is committed to a *store* when it is done.
- *device*: a CPU core or an accelerator on which JAX computes. A *process* is one of Python's.

Pools of processes: once JAX has computed anything, a process that is forked from yours hangs when
it uses JAX. Start processes by ``multiprocessing.get_context("spawn")`` instead; see
:mod:`jaxrecon.runtime.parallel`.
"""

import os

import lazy_loader

__version__ = "0.1.0"

# On a CPU, XLA logs an error that does no harm for every program that it reads from the cache
# (openxla/xla issue 44565). It reads this variable when jax is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
