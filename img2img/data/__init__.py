"""Folder layouts -> datasets of uint8 pictures; what is wrong with a folder, all at once."""

from img2img.data.paired import PairedBatch, PairedData

__all__ = ["PairedBatch", "PairedData"]
