"""The one place where a file becomes pixels and pixels become a file.

Pixels are uint8 RGB, (H, W, 3), upright, sRGB; uint16 where 16 bits were asked for. Networks see
float in [-1, 1]: `to_network` and `from_network` own that convention and work on numpy arrays and
torch tensors alike.
"""

from img2img.images.answer import with_pixels
from img2img.images.enlarge import (
    enlarge_chroma,
    enlarge_guided,
    scale_pixels,
    working_shape,
)
from img2img.images.folders import NO_RAW, RAW, Found, find_pictures, survey
from img2img.images.formats import (
    FORMATS,
    HOLDS_16_BITS,
    encode_format,
    is_picture_name,
    sniff,
    written_format,
)
from img2img.images.reading import read_picture
from img2img.images.sheets import contact_sheet, in_columns, on_white, resize_pixels
from img2img.images.traits import traits, unlike, usual_traits
from img2img.images.values import (
    LUMA,
    MAX_PIXELS,
    Picture,
    Pixels,
    Reading,
    as_values,
    from_network,
    planes_to_pixels,
    to_network,
)
from img2img.images.writing import write_picture

__all__ = [
    "FORMATS",
    "HOLDS_16_BITS",
    "LUMA",
    "MAX_PIXELS",
    "NO_RAW",
    "RAW",
    "Found",
    "Picture",
    "Pixels",
    "Reading",
    "as_values",
    "contact_sheet",
    "encode_format",
    "enlarge_chroma",
    "enlarge_guided",
    "find_pictures",
    "from_network",
    "in_columns",
    "is_picture_name",
    "on_white",
    "planes_to_pixels",
    "read_picture",
    "resize_pixels",
    "scale_pixels",
    "sniff",
    "survey",
    "to_network",
    "traits",
    "unlike",
    "usual_traits",
    "with_pixels",
    "working_shape",
    "write_picture",
    "written_format",
]
