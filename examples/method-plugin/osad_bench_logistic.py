"""Logistic: logistic regression on pooled features, normals against known anomalies.

P(anomaly | x) = 1 / (1 + exp(-(w' x + b))), x the first scale averaged over positions; score = w' x + b.
"""

import numpy as np
import torch
from pydantic import Field
from sklearn.linear_model import LogisticRegression

from osad_bench.methods.base import Context, Method, MethodConfig, Pyramid, TrainingSet


def pooled(pyramid: Pyramid) -> np.ndarray:
    """First scale averaged over positions: (B, C, H, W) -> (B, C)."""
    return pyramid[0].mean(dim=(2, 3)).cpu().numpy()


class Logistic(Method):
    """Logistic regression, both classes of equal weight."""

    name, title, version = "logistic", "Logistic regression", 1
    citation = "Cox, The regression analysis of binary sequences, J. Royal Statistical Society B 20, 1958"

    class Config(MethodConfig):
        """Hyper-parameters."""

        C: float = Field(1.0, gt=0, description="inverse weight of the squared norm of w (scikit-learn's default)")

    def fit(self, train: TrainingSet, context: Context) -> None:  # noqa: ARG002
        """Fit w and b to the training normals and the known anomalies."""
        rows = np.concatenate([pooled(train.normals()), pooled(train.seen())])
        labels = [0] * train.n_normal + [1] * train.n_seen
        model = LogisticRegression(C=self.config.C, class_weight="balanced", max_iter=1000).fit(rows, labels)
        # Tensors, so that a fitted method can be saved (Method.state) without code of its own.
        self.weight, self.bias = torch.from_numpy(model.coef_[0]), torch.from_numpy(model.intercept_)

    def score(self, pyramid: Pyramid) -> torch.Tensor:
        """Log odds of an anomaly, (B,)."""
        return torch.from_numpy(pooled(pyramid)).double() @ self.weight.double() + self.bias
