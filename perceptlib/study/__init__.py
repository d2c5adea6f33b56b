"""The study: its configuration, the pictures and networks of a preset or a user's own, what is measured of each
picture, and the runner that keeps every row. The other modules compare attacks and maps on the same pictures."""

from perceptlib.study.config import MAPS, PRESETS, REGIONS, STUDIES, StudyConfig, config_from, read_config
from perceptlib.study.presets import Pictures, Source, Study, load_network, load_pictures, load_study, photograph
from perceptlib.study.rows import StudyError, read_study
from perceptlib.study.runner import run_study, summary
from perceptlib.study.tasks import run_task, tasks_of

__all__ = [
    "MAPS",
    "PRESETS",
    "REGIONS",
    "STUDIES",
    "Pictures",
    "Source",
    "Study",
    "StudyConfig",
    "StudyError",
    "config_from",
    "load_network",
    "load_pictures",
    "load_study",
    "photograph",
    "read_config",
    "read_study",
    "run_study",
    "run_task",
    "summary",
    "tasks_of",
]
