"""Settings of AHL."""

from __future__ import annotations

from pydantic import Field

from osad_bench.methods.base import MixedConfig


class AHLConfig(MixedConfig):
    """Hyper-parameters of AHL; the base has its published ones."""

    seen_share: float = Field(
        1 / 3, ge=0, lt=1, description="share of known anomalies in a support or query batch (public code: 1/3)"
    )
    pseudo_share: float = Field(
        1 / 3, ge=0, lt=1, description="share of pseudo-anomalies in a support or query batch (public code: 1/3)"
    )
    clusters: int = Field(3, ge=2, description="k-means clusters of the normals (Sec. 4.1: 3)")
    inner_lr: float = Field(2e-4, gt=0, description="step size on an episode's support (Sec. 4.1: 2e-4)")
    inner_steps: int = Field(3, ge=1, description="gradient steps on an episode's support (Sec. 4.1: 3)")
    first_order: bool = Field(
        False, description="leave second derivatives out of the outer step (public code: for all inner steps but one)"
    )
    outer_lr: float = Field(2e-3, gt=0, description="Adam's step size for the unified model (Sec. 4.1: 2e-3)")
    outer_weight_decay: float = Field(1e-4, ge=0, description="weight decay of the unified model (public code: 1e-4)")
    outer_epochs: int = Field(30, ge=0, description="meta-epochs, one outer step per epoch (public code: 30)")
    outer_decay_every: int = Field(10, ge=1, description="meta-epochs after which outer_lr falls (public code: 10)")
    outer_decay: float = Field(0.1, gt=0, le=1, description="factor by which outer_lr falls (public code: 0.1)")
    outer_clip: float = Field(1.0, gt=0, description="largest norm of the outer gradient (public code: 1)")
    batch: int = Field(48, ge=4, description="images of a support or query batch (public code: 48)")
    history: int = Field(5, ge=1, description="epochs of scores the sequence model reads (Sec. 4.1: 5)")
    weighting: bool = Field(True, description="weigh episodes by predicted reward (ablation of Table 4: False)")
    reward_normal: float = Field(0.5, ge=0, description="weight of the normals' error in a reward (public code: 0.5)")
    reward_pseudo: float = Field(0.5, ge=0, description="weight of the pseudo-anomalies' error (public code: 0.5)")
    reward_seen: float = Field(1.0, ge=0, description="weight of the known anomalies' error (public code: 1)")
    sequence_layers: int = Field(2, ge=1, description="layers of the sequence model's LSTM (public code: 2)")
    sequence_lr: float = Field(2e-3, gt=0, description="Adam's step size for the sequence model (public code: 2e-3)")
    sequence_weight_decay: float = Field(
        1e-3, ge=0, description="weight decay of the sequence model (public code: 1e-3)"
    )
    judged: int = Field(
        8, ge=4, description="query images of an episode whose scores are followed (public code: all; ours bounds time)"
    )
    pool: int = Field(128, ge=8, description="pseudo-anomalies of each sort kept as features (ours)")
