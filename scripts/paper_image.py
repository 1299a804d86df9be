"""The image recognition of the paper with each normalizer: python scripts/paper_image.py --data digits"""

from __future__ import annotations

from wnrl.distribution import checked_packages

with checked_packages():
    from paper.command import run
    from paper.image.image_experiment import ImageSettings

if __name__ == "__main__":
    raise SystemExit(run(ImageSettings, __doc__ or ""))
