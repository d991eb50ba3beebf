"""How lines are chosen for the regularizers that measure along lines."""

import torch
from torch import Tensor


def random_directions(
    n_components: int, n_slices: int, generator: torch.Generator | None, like: Tensor
) -> Tensor:
    """Draw directions that are uniform on the sphere, in orthogonal sets.

    Directions of one set are orthonormal (columns of a Haar-distributed rotation), which makes
    the average over slices less noisy than independent ones (Rowland et al. 2019); each
    direction by itself is uniform.

    Parameters
    ----------
    n_components : int
        k.
    n_slices : int
        S.
    generator : torch.Generator or None
        On the CPU.
    like : Tensor
        Gives type and device.

    Returns
    -------
    Tensor of shape (k, S)
        Unit columns.
    """
    n_sets = -(-n_slices // n_components)
    shape = (n_sets, n_components, n_components)
    normal = torch.randn(shape, generator=generator, dtype=torch.float32)
    rotation, upper = torch.linalg.qr(normal)
    # Without the signs of the diagonal the rotations are not uniform (Mezzadri 2007).
    rotation = rotation * upper.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
    return rotation.movedim(0, 1).flatten(1)[:, :n_slices].to(like)


def sliced_scale(curvature: float, n_components: int) -> float:
    """Return the unit s that puts an average over directions on the scale of `MomentMatching`.

    Where a Gaussian line of variance v scores ``curvature * (v - 1)^2`` near v = 1, the average
    over directions for one component of variance v is 3 / (k (k + 2)) times that, the mean
    fourth power of a direction's component. In units of s it is (v - 1)^2 / k.
    """
    return 3 * curvature / (n_components + 2)
