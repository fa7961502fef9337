"""Configuration: the knobs (`schema`), the presets by name (`presets`), and overrides by dotted name."""

from stylegan.config.schema import (
    AugmentConfig,
    Config,
    DataConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    LossConfig,
    ScheduleConfig,
    TrainingConfig,
)

__all__ = [
    "AugmentConfig",
    "Config",
    "DataConfig",
    "DiscriminatorConfig",
    "GeneratorConfig",
    "LossConfig",
    "ScheduleConfig",
    "TrainingConfig",
]
