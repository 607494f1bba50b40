"""The face: takes a model of any kind through all rooms, to one that runs."""

from .compilation import compile as compile
from .recovery import recover as recover
