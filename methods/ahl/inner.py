"""AHL's inner loop and its gradient (Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.func import grad, grad_and_value

from osad_bench.methods.base import Batch

Parameters = dict[str, Tensor]

Loss = Callable[[Parameters, Batch], Tensor]


def adapt(loss: Loss, parameters: Parameters, support: Batch, lr: float, steps: int) -> Parameters:
    """Inner loop: `steps` gradient steps on the support, differentiable in `parameters`."""
    for _ in range(steps):
        gradients = grad(loss)(parameters, support)
        parameters = {name: value - lr * gradients[name] for name, value in parameters.items()}
    return parameters


def meta_gradient(
    loss: Loss, parameters: Parameters, support: Batch, query: Batch, lr: float, steps: int, first_order: bool = False
) -> tuple[Parameters, Tensor, Parameters]:
    """Gradient of the query loss after the inner loop, with respect to where the inner loop started.

    `first_order` leaves out how the adapted parameters depend on the start (the Jacobian is taken as the identity).

    Returns
    -------
    gradient, query loss, adapted parameters
    """
    if first_order:
        adapted = adapt(loss, parameters, support, lr, steps)
        gradients, value = grad_and_value(loss)(adapted, query)
        return gradients, value, adapted

    def after_adaptation(start: Parameters) -> tuple[Tensor, Parameters]:
        adapted = adapt(loss, start, support, lr, steps)
        return loss(adapted, query), adapted

    gradients, (value, adapted) = grad_and_value(after_adaptation, has_aux=True)(parameters)
    return gradients, value, adapted
