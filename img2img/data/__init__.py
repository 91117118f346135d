"""Folder layouts -> datasets of uint8 pictures; what is wrong with a folder, all at once."""

from img2img.data.labelled import LabelledBatch, LabelledData
from img2img.data.paired import PairedBatch, PairedData
from img2img.data.store import Loading, epoch_order
from img2img.data.unpaired import UnpairedBatch, UnpairedData

__all__ = [
    "LabelledBatch",
    "LabelledData",
    "Loading",
    "PairedBatch",
    "PairedData",
    "UnpairedBatch",
    "UnpairedData",
    "epoch_order",
]
