"""Random directions for the regularizers that compare projections."""

import torch
from torch import Tensor


def random_directions(
    n_components: int, n_slices: int, generator: torch.Generator | None, like: Tensor
) -> Tensor:
    """Draw directions that are uniform on the sphere, in orthogonal sets.

    The directions of one set are orthonormal: the columns of a Haar-distributed rotation. The
    average over slices is then less noisy than with independent directions (Rowland et al. 2019).
    Each direction by itself is uniform.

    Parameters
    ----------
    n_components : int
        k.
    n_slices : int
        S.
    generator : torch.Generator or None
        CPU generator. If None, use torch's global generator.
    like : Tensor
        Tensor whose type and device the directions take.

    Returns
    -------
    Tensor of shape (k, S)
        Unit columns.
    """
    n_sets = -(-n_slices // n_components)
    shape = (n_sets, n_components, n_components)
    normal = torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")
    rotation, upper = torch.linalg.qr(normal)
    # Without the signs of the diagonal the rotations are not uniform (Mezzadri 2007).
    rotation = rotation * upper.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
    return rotation.movedim(0, 1).flatten(1)[:, :n_slices].to(like)


def sliced_scale(curvature: float, n_components: int) -> float:
    """Return the unit s that gives an average over directions the scale of `MomentMatching`.

    Let a Gaussian projection of variance v score ``curvature * (v - 1)^2`` near v = 1. If one
    component has the variance v, the average over directions is 3 / (k (k + 2)) times this score.
    The factor is the mean fourth power of an entry of a direction. In units of s the average
    is (v - 1)^2 / k.
    """
    return 3 * curvature / (n_components + 2)
