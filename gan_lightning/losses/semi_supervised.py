"""A classifier of K classes as a discriminator (Salimans et al. 2016, arXiv:1606.03498, section 5)."""

from __future__ import annotations

from torch import Tensor


def semi_supervised_score(logits: Tensor) -> Tensor:
    """log Z, Z = sum_k exp l_k: the logit of D(x) = Z / (Z + 1), the probability of all K classes but "generated".

    A softmax of K + 1 logits is the same if all are shifted alike, so that of "generated" is fixed at 0.
    `logistic_discriminator` of these scores is -E log D(x) - E log(1 - D(G(z))).

    Args:
        logits: (n, K).

    Returns:
        (n,).
    """
    return logits.logsumexp(1)
