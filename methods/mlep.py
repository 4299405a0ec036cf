"""MLEP: reconstruction of normal embeddings with a margin that keeps known anomalies away (Liu et al., IJCAI 2019).

The feature map x is encoded and decoded position by position. The decoder has not learned codes that are far from those of
normals, so that anomalies are reconstructed worse:

- e_i = |decode(encode(x_i)) - x_i|^2 / C at position i; L_rec = mean of e_i over the normals;
- f(x) = pooled code of unit norm; L_mar = mean of max(0, |f_a - f_p|^2 - |f_a - f_n|^2 + margin) over anchors a and
  positives p among the normals and negatives n among the known anomalies;
- L = L_rec + weight L_mar; score = mean of the K largest e_i, averaged over scales.

Departures: the original predicts video frames with a ConvLSTM and scores the prediction's error; the OSAD papers use it
on images without giving details, so encoder, decoder, margin and weight are ours.

Source: Liu, Luo, Li, Zhao and Gao, "Margin learning embedded prediction for video anomaly detection with a few
anomalies", IJCAI 2019.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from osad_bench.methods.base import Batch, Context, MethodConfig, Pyramid, TrainingSet
from osad_bench.methods.gradient import GradientMethod
from osad_bench.methods.parts.heads import OverScales, top_mean


class AutoEncoder(nn.Module):
    """Encodes and decodes each position of a map; the score is its reconstruction error.

    With `given` the map to reconstruct is a fixed target: no gradient flows through it to the layers below.
    """

    def __init__(self, channels: int, code: int, top: float, given: bool = False) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Conv2d(channels, code, 1), nn.ReLU())
        self.decode = nn.Conv2d(code, channels, 1)
        self.top, self.given = top, given

    def error(self, x: Tensor) -> Tensor:
        """Mean squared error over channels at each position, (B, C, H, W) -> (B, H, W)."""
        difference: Tensor = self.decode(self.encode(x)) - (x.detach() if self.given else x)
        return difference.square().mean(dim=1)

    map = error

    def embedding(self, x: Tensor) -> Tensor:
        """Pooled code of unit norm, (B, C, H, W) -> (B, code)."""
        return nn.functional.normalize(self.encode(x).mean(dim=(2, 3)), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Mean error of the worst positions, (B, C, H, W) -> (B,)."""
        return top_mean(self.error(x).flatten(1), self.top)


def margin_loss(normal: Tensor, anomalous: Tensor, margin: float) -> Tensor:
    """Triplet loss over all normal pairs and anomalies: max(0, |a - p|^2 - |a - n|^2 + margin), a scalar.

    Parameters
    ----------
    normal, anomalous
        Embeddings (N, d) and (M, d); 0 with fewer than two normals or no anomaly.
    """
    if len(normal) < 2 or not len(anomalous):
        return normal.sum() * 0
    # |x - y|^2 without the square root, whose gradient is infinite between equal embeddings
    near = (normal[:, None] - normal[None]).square().sum(-1)
    far = (normal[:, None] - anomalous[None]).square().sum(-1)
    triplets = (near[:, :, None] - far[:, None, :] + margin).clamp_min(0)
    pairs = 1 - torch.eye(len(normal), device=normal.device)[:, :, None]  # an image is not its own positive
    return (triplets * pairs).sum() / (len(normal) * (len(normal) - 1) * len(anomalous))


class MLEP(GradientMethod):
    """Margin learning embedded reconstruction."""

    name, title, version = "mlep", "MLEP", 2
    citation = (
        "Liu et al., Margin learning embedded prediction for video anomaly detection with a few anomalies, IJCAI 2019"
    )
    departures = "docs/deviations.md#mlep"

    network: OverScales

    class Config(MethodConfig):
        """Hyper-parameters of MLEP; those of the original are for video, so these are ours."""

        code: int = Field(64, ge=1, description="channels of the code (ours)")
        margin: float = Field(1.0, gt=0, description="margin of squared distances between unit codes (ours)")
        weight: float = Field(1.0, ge=0, description="weight of the margin loss (ours)")
        given: bool = Field(
            False, description="no gradient through the features to reconstruct (ours, docs/deviations.md)"
        )
        topk: float = Field(0.1, gt=0, le=1, description="share of positions that make the score (DRA, Sec. 4.1)")

    def build(self, train: TrainingSet, context: Context) -> OverScales:
        """An autoencoder of positions over the pyramid."""
        config = self.config
        with context.initialised("autoencoder"):
            return OverScales(
                train.shapes, lambda channels: AutoEncoder(channels, config.code, config.topk, config.given)
            )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Reconstruction of the normals and the margin between normals and anomalies, mean over scales."""
        heads = self.network.heads
        reconstruction, margin = [], []
        for x in batch.pyramid:
            head: AutoEncoder = heads[str(x.shape[1])]  # type: ignore[assignment]
            reconstruction.append(head.error(batch.normals(x)).mean())
            embedding = head.embedding(x)
            margin.append(margin_loss(batch.normals(embedding), batch.anomalies(embedding), self.config.margin))
        return {
            "reconstruction": torch.stack(reconstruction).mean(),
            "margin": self.config.weight * torch.stack(margin).mean(),
        }

    def forward_score(self, pyramid: Pyramid) -> Tensor:
        """Reconstruction errors, shape (B,)."""
        score: Tensor = self.network(pyramid)
        return score

    def forward_map(self, pyramid: Pyramid) -> Tensor:
        """Reconstruction error of each position, mean over scales, (B, H, W)."""
        return self.network.map(pyramid)
