import torch
from osad_bench_logistic import Logistic

from osad_bench.methods.checks import check_method
from osad_bench.methods.in_memory import InMemory


def test_logistic_meets_the_contract():
    check_method(Logistic)


def test_what_lies_on_the_side_of_the_known_anomalies_scores_higher():
    def draw(shift: float) -> list[torch.Tensor]:
        return [torch.randn(20, 4, 3, 3, generator=torch.Generator().manual_seed(0)) + shift]

    method = Logistic()
    method.fit(InMemory(draw(0.0), draw(2.0)), context=None)
    assert method.score(draw(2.0)).min() > method.score(draw(0.0)).max()
