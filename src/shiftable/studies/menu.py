"""All studies. Needs torch, which most of them train with."""

from collections.abc import Mapping

from shiftable.studies.along_depth import DETECTION, SHIFTABILITY
from shiftable.studies.architectures import ARCHITECTURES
from shiftable.studies.filters import FILTERS_STUDY
from shiftable.studies.hand_made import FEATURES
from shiftable.studies.illustration import ILLUSTRATION
from shiftable.studies.over_invariance import OVER_INVARIANCE
from shiftable.studies.photographers import BIAS
from shiftable.studies.photographs import CROPS, DEPTH, EMBEDDING
from shiftable.studies.sampling import SAMPLING
from shiftable.studies.study import Study
from shiftable.studies.teaching import AUGMENTATION, REGULARISATION

STUDIES: Mapping[str, Study] = {
    study.name: study
    for study in (
        *(ILLUSTRATION, EMBEDDING, CROPS, DEPTH, SHIFTABILITY, SAMPLING, BIAS),
        *(AUGMENTATION, REGULARISATION, FEATURES, FILTERS_STUDY, ARCHITECTURES, OVER_INVARIANCE, DETECTION),
    )
}
"""Name → study, in the order of the paper."""
