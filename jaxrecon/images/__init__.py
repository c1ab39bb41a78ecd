"""Images: crystals as Gaussians on two grids of voxels, exactly there and back."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
