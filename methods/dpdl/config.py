"""Settings of DPDL."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from osad_bench.methods.base import MixedConfig


class DPDLConfig(MixedConfig):
    """Hyper-parameters of DPDL; the shares of a batch are ours."""

    reading: Literal["printed", "shrunk", "cluster", "position", "likelihood"] = Field(
        "cluster", description="how the paper is read (ours, docs/deviations.md; each reading's source: see above)"
    )
    prototypes: int = Field(32, ge=1, description="C, prototypes (Sec. 5.3; Fig. 3 has 8 to 64)")
    per_prototype: int = Field(
        10, ge=1, description="least number of training normals per prototype: fewer normals lower C (ours)"
    )
    eps: float = Field(1e-3, gt=0, description="entropic regularisation of the bridge (Sec. 4.2)")
    variance: float = Field(1.0, gt=0, description="S at the start, for reading=printed (Sec. 4.2: the identity)")
    variance_range: float = Field(
        10.0, gt=1, description="largest factor by which S grows or shrinks, for reading=printed (ours)"
    )
    shrinkage: float = Field(
        0.1, gt=0, lt=1, description="S for the other readings (start of S in LightSB's public code)"
    )
    kappa: float = Field(10.0, gt=0, description="concentration of DFL (Sec. 4.3)")
    dispersion: float = Field(0.01, ge=0, description="lambda, weight of DFL (Eq. 23; Sec. 5.7)")
    transport: Literal["mean", "sample", "sde"] = Field(
        "mean",
        description="the carried point: the plan's mean, a draw from it, or the SDE's end (the paper names none)",
    )
    steps: int = Field(20, ge=1, description="Euler-Maruyama steps of transport=sde (not given in the paper)")
    bound: Literal["hinge", "weight", "none"] = Field(
        "weight",
        description="how the anomalies' potential is kept from growing without limit (ours, docs/deviations.md)",
    )
    margin: float = Field(
        1.0,
        gt=0,
        description="how far bound=hinge pushes an anomaly's term of DPL above the normals' mean (ours)",
    )
    anomaly_weight: float = Field(
        0.1, gt=0, lt=1, description="weight of the anomalies' term of DPL, for bound=weight (ours)"
    )
    loss: Literal["deviation", "bce", "focal"] = Field(
        "deviation", description="L_binary of Eqs. 20 to 22 (not named in the paper; DevNet's and DRA's)"
    )
    deviation_margin: float = Field(5.0, gt=0, description="margin of loss=deviation (DevNet 2019, Eq. 7)")
    draws: int = Field(5000, ge=2, description="draws of the prior of loss=deviation (DevNet 2019, Eq. 5)")
    gamma: float = Field(2.0, ge=0, description="focusing parameter of loss=focal (Lin et al. 2017, Sec. 4.1: 2)")
    topk: float = Field(0.1, gt=0, le=1, description="share of positions that make a map's score (Eq. 20)")
    width: int = Field(256, ge=1, description="hidden units of M_n (not given in the paper; DRA's public code: 256)")
    dpl: bool = Field(True, description="distribution prototype learning, Eqs. 16 and 17 (Fig. 2)")
    dfl: bool = Field(True, description="dispersion feature learning, Eq. 19 (Fig. 2)")
    anomaly_head: bool = Field(True, description="M_a, Eq. 20 (Table 3)")
    normal_head: bool = Field(True, description="M_n, Eq. 21 (Table 3)")
    residual_head: bool = Field(True, description="M_r, Eq. 22 (Table 3)")
