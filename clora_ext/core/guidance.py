"""One update of the latent against the gradient of the loss, and how often guidance counts a LoRA."""

from clora_ext.core.shapes import Gradient, Latent


def move_latent(latent: Latent, gradient: Gradient, size: float, *, clip: float = 0.0) -> Latent:
    """z' = z - alpha * dL/dz (CLoRA, section 3.3), per image.

    ``clip`` bounds the root mean square of the move, in latent units; 0 for no bound.
    """
    move = gradient * size
    if clip > 0.0:
        rms = move.float().square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        bound = clip / rms.clamp(min=clip)
        move = move * bound.to(move.dtype)
    return (latent - move).detach()


def uncond_share(emphasis: float, cfg_scale: float) -> float:
    """The share of a LoRA's weight in the unconditional half, 0 to 1, so that guidance counts it ``emphasis`` times
    (ours).

    To first order in a LoRA's weight w both halves move by w d. Where u moves by r w d only, guidance u + g (c - u)
    moves by (g - (g - 1) r) w d: r = 1 is the host's own image, and with r = 0 the LoRA counts g times.
    """
    if cfg_scale <= 1.0:
        return 1.0
    share = (cfg_scale - emphasis) / (cfg_scale - 1.0)
    return min(max(share, 0.0), 1.0)
