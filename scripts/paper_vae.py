"""A convolutional VAE, the generative model of the paper, with each normalizer: python scripts/paper_vae.py"""

from __future__ import annotations

from wnrl.distribution import checked_packages

with checked_packages():
    from paper.command import run
    from paper.vae.vae_experiment import VAESettings

if __name__ == "__main__":
    raise SystemExit(run(VAESettings, __doc__ or ""))
