from .decode import decode as decode
from .encode import encode as encode
from .image import Image as Image
from .io import read_images as read_images
from .io import write_images as write_images
from .parameters import ImageParameters as ImageParameters
