"""The networks and pictures of `make bench`: random weights, the same for every package."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 224


def pictures(
    n:int, # how many
    seed:int=0, # other seeds, other pictures
) -> Tensor: # (n, 3, 224, 224)
    "Coloured clouds, so that neighbouring places are alike, as they are in photos."
    noise = torch.randn(n, 3, 14, 14, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, (SIDE, SIDE), mode='bilinear', align_corners=False)


def settled(
    model:nn.Module, # with batch norms
) -> nn.Module: # the same, in eval mode
    "Batch norms learn the statistics of our pictures: without them, maps would be degenerate."
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for m in norms: m.momentum = None # the mean of all that it has seen
    model.train()
    with torch.no_grad():
        for seed in (1, 2, 3): model(pictures(16, seed))
    for m in norms: m.momentum = .1
    return model.eval()


def cnn() -> nn.Module: # in eval mode
    "torchvision's resnet18."
    from torchvision.models import resnet18
    torch.manual_seed(0)
    return settled(resnet18(weights=None))


def timm_vit(
    fused:bool=True, # False: with the softmax that timm's own extractor needs
) -> nn.Module: # in eval mode
    "timm's ViT-S/16; its queries and keys are enlarged, so that some tokens are seen more."
    from timm import create_model
    from timm.layers import set_fused_attn
    torch.manual_seed(0)
    try:
        set_fused_attn(fused)
        model = create_model('vit_small_patch16_224', pretrained=False)
    finally: set_fused_attn(True)
    with torch.no_grad():
        for block in model.blocks: block.attn.qkv.weight[:2*model.embed_dim] *= 5
    return model.eval()


def torchvision_vit() -> nn.Module: # in eval mode
    "torchvision's vision transformer, as large as ViT-S/16."
    from torchvision.models import VisionTransformer
    torch.manual_seed(0)
    model = VisionTransformer(SIDE, 16, 12, 6, 384, 1536)
    nn.init.normal_(model.heads.head.weight, std=.02) # zero in a new one: no map would be left
    return model.eval()
