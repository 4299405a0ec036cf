"""DevNet: deviation networks on images (Pang et al. 2019, 2021).

Each position of the feature map gets one score; the mean of the top 10 % is the image's. The deviation loss keeps normals
near the mean of a Gaussian prior and anomalies at least five deviations above:

- phi(x) = mean of the K largest |s_i(x)| over positions i (2021, Eq. 2), averaged over scales;
- mu, sigma = mean and standard deviation of l draws of N(0, 1) (2019, Eq. 5);
- dev(x) = (phi(x) - mu) / sigma (2019, Eq. 6);
- L = |dev| for a normal, max(0, a - dev) for an anomaly (2019, Eq. 7).

Departures: the l draws are taken once, not at every step; the anomaly map holds the positions' scores |s_i(x)|, not the
gradient with respect to the pixels (2021, Sec. 3.3), since methods see features.

Sources: Pang, Shen and van den Hengel, "Deep anomaly detection with deviation networks", KDD 2019; Pang, Ding, Shen and
van den Hengel, "Explainable deep few-shot anomaly detection with deviation networks", arXiv:2108.00462, 2021.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from osad_bench.methods.base import NORMAL, Batch, Context, MethodConfig, Pyramid, TrainingSet
from osad_bench.methods.gradient import GradientMethod
from osad_bench.methods.parts.heads import OverScales, PatchHead
from osad_bench.methods.parts.losses import Deviation


class DevNet(GradientMethod):
    """Deviation networks."""

    name, title, version = "devnet", "DevNet", 2
    citation = (
        "Pang et al., Explainable deep few-shot anomaly detection with deviation networks, 2021 (arXiv:2108.00462)"
    )
    departures = "docs/deviations.md#devnet"

    network: OverScales

    class Config(MethodConfig):
        """Hyper-parameters of DevNet."""

        topk: float = Field(
            0.1, gt=0, le=1, description="share of positions that make the image's score (2021, Sec. 4)"
        )
        margin: float = Field(5.0, gt=0, description="deviations an anomaly should lie above the normals (2019, Eq. 7)")
        draws: int = Field(5000, ge=2, description="l, draws of the Gaussian prior (2019, Eq. 5)")

    def build(self, train: TrainingSet, context: Context) -> OverScales:
        """A head over the pyramid."""
        self.deviation = Deviation.draw(context.random("prior"), self.config.margin, self.config.draws)
        with context.initialised("head"):
            return OverScales(train.shapes, lambda channels: PatchHead(channels, self.config.topk))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Deviation loss (2019, Eq. 7)."""
        return {"deviation": self.deviation(self.network(batch.pyramid), batch.target != NORMAL)}

    def forward_score(self, pyramid: Pyramid) -> Tensor:
        """Scores, shape (B,)."""
        score: Tensor = self.network(pyramid)
        return score

    def forward_map(self, pyramid: Pyramid) -> Tensor:
        """|s_i(x)| of each position, mean over scales, (B, H, W)."""
        return self.network.map(pyramid)
