"""Losses and penalties as pure functions of tensors: no network, no optimizer, no random number inside."""

from gan_lightning.losses.adversarial import (
    hinge_discriminator,
    hinge_generator,
    least_squares_discriminator,
    least_squares_generator,
    logistic_discriminator,
    minimax_generator,
    non_saturating_generator,
    relativistic,
    relativistic_average,
    relativistic_average_hinge,
    relativistic_average_least_squares,
    wasserstein_discriminator,
    wasserstein_generator,
)
from gan_lightning.losses.bidirectional import pair_encoder_generator, pair_hinge_discriminator
from gan_lightning.losses.information import categorical_code, continuous_code, divergence_from_normal
from gan_lightning.losses.matching import feature_matching, structural_matching
from gan_lightning.losses.ranking import (
    importance_mixture,
    pairwise_logistic,
    policy_gradient,
    ranking_reward,
)
from gan_lightning.losses.reconstruction import absolute_error
from gan_lightning.losses.regularizers import (
    exact_gradients,
    gradient_penalty,
    lecam_penalty,
    norm_penalty,
    off_diagonal_penalty,
    path_lengths,
    zero_centred_penalty,
)
from gan_lightning.losses.semi_supervised import semi_supervised_score

__all__ = [
    "absolute_error",
    "categorical_code",
    "continuous_code",
    "divergence_from_normal",
    "exact_gradients",
    "feature_matching",
    "gradient_penalty",
    "hinge_discriminator",
    "hinge_generator",
    "importance_mixture",
    "least_squares_discriminator",
    "least_squares_generator",
    "lecam_penalty",
    "logistic_discriminator",
    "minimax_generator",
    "non_saturating_generator",
    "norm_penalty",
    "off_diagonal_penalty",
    "pair_encoder_generator",
    "pair_hinge_discriminator",
    "pairwise_logistic",
    "path_lengths",
    "policy_gradient",
    "ranking_reward",
    "relativistic",
    "relativistic_average",
    "relativistic_average_hinge",
    "relativistic_average_least_squares",
    "semi_supervised_score",
    "structural_matching",
    "wasserstein_discriminator",
    "wasserstein_generator",
    "zero_centred_penalty",
]
