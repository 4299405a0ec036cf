"""DevNet: deviation networks on images (Pang et al. 2019, 2021).

One score a position, the mean of the top 10 % is the image's, trained by the deviation loss so that normals lie near the
mean of a Gaussian prior and anomalies at least five deviations above:

- phi(x) = mean of the K largest |s_i(x)| over positions i (2021, Eq. 2), averaged over scales;
- mu, sigma = mean and standard deviation of l draws of N(0, 1) (2019, Eq. 5);
- dev(x) = (phi(x) - mu) / sigma (2019, Eq. 6);
- L = |dev| for a normal, max(0, a - dev) for an anomaly (2019, Eq. 7).

Departures: the l draws are taken once, not at every step; the map of where the anomaly is is the gradient on the finest
feature map times that map, since methods see features and not pixels.

Sources: Pang, Shen and van den Hengel, "Deep anomaly detection with deviation networks", KDD 2019; Pang, Ding, Shen and
van den Hengel, "Explainable deep few-shot anomaly detection with deviation networks", arXiv:2108.00462, 2021.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from osad_bench.methods.base import NORMAL, Batch, Context, MethodConfig, Pyramid, TrainingSet
from osad_bench.methods.gradient import GradientMethod
from osad_bench.methods.parts.heads import OverScales, PatchHead
from osad_bench.methods.parts.losses import Deviation


class DevNet(GradientMethod):
    """Deviation networks."""

    name, title = "devnet", "DevNet"
    citation = (
        "Pang et al., Explainable deep few-shot anomaly detection with deviation networks, 2021 (arXiv:2108.00462)"
    )
    departures = "docs/deviations.md#devnet"

    class Config(MethodConfig):
        """Hyper-parameters of DevNet."""

        topk: float = Field(
            0.1, gt=0, le=1, description="share of positions that make the image's score (2021, Sec. 4)"
        )
        margin: float = Field(5.0, gt=0, description="deviations an anomaly should lie above the normals (2019, Eq. 7)")
        draws: int = Field(5000, ge=2, description="l, draws of the Gaussian prior (2019, Eq. 5)")

    def build(self, train: TrainingSet, context: Context) -> nn.Module:
        """A head over the pyramid."""
        self.deviation = Deviation.draw(context.generator, self.config.margin, self.config.draws)
        return OverScales(train.shapes, lambda channels: PatchHead(channels, self.config.topk))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Deviation loss (2019, Eq. 7)."""
        return {"deviation": self.deviation(self.network(batch.pyramid), batch.target != NORMAL)}

    def forward_score(self, pyramid: Pyramid) -> Tensor:
        """Scores, shape (B,)."""
        score: Tensor = self.network(pyramid)
        return score

    def score_map(self, pyramid: Pyramid) -> Tensor:
        """Where the anomaly is: magnitude of the gradient of the score on the finest map, (B, H, W) (2021, Sec. 3.3)."""
        self.network.eval()
        finest = pyramid[0].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.network([finest, *pyramid[1:]]).sum(), finest)
        return (gradient * finest).sum(1).abs().detach()
