"""A model compiled for another machine: it can be saved and looked at, not run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from ..runtime import Artifact, ArtifactError, DeviceError, Model, ModelError, Signature
from ..runtime.loader import check_target
from ..runtime.notes import Notes


class Elsewhere:
    """An engine that says where the model runs."""

    def __init__(self, problem: ModelError):
        self._problem = problem

    def plan(self, arrays: Sequence[np.ndarray]) -> NoReturn:
        """Refuses.

        Raises:
            ModelError: Always.
        """
        raise self._problem

    def execute(self, plan: None, arrays: Sequence[np.ndarray]) -> NoReturn:
        """Refuses, like ``plan``."""
        raise self._problem


def model_of(artifact: Artifact, threads: int | None = None, notes: Notes | None = None) -> Model:
    """The model of an artifact; one for another machine is a model that refuses to run.

    ``notes`` are what was measured before.
    """
    try:
        check_target(artifact.manifest["target"])
    except ArtifactError as problem:
        return _elsewhere(artifact, problem)
    try:
        return Model.from_artifact(artifact, threads=threads, notes=notes)
    except DeviceError as problem:
        return _elsewhere(artifact, problem)


def _elsewhere(artifact: Artifact, problem: ModelError) -> Model:
    signature = Signature.from_manifest(artifact.manifest)
    return Model(signature, Elsewhere(problem), artifact, artifact.manifest.get("report"))
