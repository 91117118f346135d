"""Folder layouts -> datasets of uint8 pictures; what is wrong with a folder, all at once."""

from img2img.data.albument import Albument
from img2img.data.dataset import Batch, Dataset
from img2img.data.labelled import LabelledBatch, LabelledData
from img2img.data.paired import PairedBatch, PairedData
from img2img.data.photographs import PhotographData
from img2img.data.prefetch import Feed, Request
from img2img.data.residence import OnDevice, settle
from img2img.data.store import Loading, epoch_order
from img2img.data.styled import StyledData
from img2img.data.unpaired import UnpairedBatch, UnpairedData

__all__ = [
    "Albument",
    "Batch",
    "Dataset",
    "Feed",
    "LabelledBatch",
    "LabelledData",
    "Loading",
    "OnDevice",
    "PairedBatch",
    "PairedData",
    "PhotographData",
    "Request",
    "StyledData",
    "UnpairedBatch",
    "UnpairedData",
    "epoch_order",
    "settle",
]
