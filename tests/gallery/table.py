"""Every system of the gallery that has figures, in the order of the page."""

from __future__ import annotations

from tests.gallery.figures import System
from tests.gallery.joint_embedding import (
    jepa_bouncing_dot,
    losses_on_digits,
    motion_and_content,
    source_separation,
    vicreg_digits,
    vicreg_local_digits,
)
from tests.gallery.planning import pendulum_mpc
from tests.gallery.training import (
    adversarial,
    autoencoders,
    blurry_average,
    boltzmann_machine,
    denoising_score,
    gmm,
    ica,
    inpainting,
    ising_couplings,
    kmeans,
    linear_vae,
    lista,
    maximum_likelihood,
    missing_outputs,
    nce,
    pca,
    planar_energy,
    quantised,
    score_matching,
    two_futures,
)

SYSTEMS: tuple[System, ...] = (
    pca.SYSTEM,
    kmeans.SYSTEM,
    gmm.SYSTEM,
    ica.SYSTEM,
    score_matching.SYSTEM,
    boltzmann_machine.SYSTEM,
    nce.SYSTEM,
    ising_couplings.SYSTEM,
    maximum_likelihood.SYSTEM,
    planar_energy.SYSTEM,
    adversarial.SYSTEM,
    blurry_average.SYSTEM,
    missing_outputs.SYSTEM,
    lista.SYSTEM,
    linear_vae.SYSTEM,
    two_futures.SYSTEM,
    quantised.SYSTEM,
    autoencoders.CONTRACTING,
    autoencoders.SATURATING,
    denoising_score.SYSTEM,
    inpainting.SYSTEM,
    pendulum_mpc.SYSTEM,
    vicreg_digits.SYSTEM,
    losses_on_digits.SYSTEM,
    vicreg_local_digits.SYSTEM,
    source_separation.SYSTEM,
    jepa_bouncing_dot.SYSTEM,
    motion_and_content.SYSTEM,
)
