from .embedded import load as load
from .frames import from_frames as from_frames
from .frames import to_frames as to_frames
from .io import read_labelled as read_labelled
from .io import write_labelled as write_labelled
from .labelled import LabelledSet as LabelledSet
