"""An algorithm of your own, as it could stand in your project: it knows nothing of xmoco_plugin."""

import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.registry import MODELS


@MODELS.register_module()
class SpreadHead(BaseModule):
    """Draws two views together and keeps every dimension's spread (after VICReg's terms)."""

    def loss(self, a, b):
        spread = sum(F.relu(1 - z.std(dim=0)).mean() for z in (a, b))
        return F.mse_loss(a, b) + spread


@MODELS.register_module()
class TwoViews(BaseSelfSupervisor):
    """Two views, one encoder, both sides trained."""

    def loss(self, inputs, data_samples, **kwargs):
        a, b = (self.neck(self.backbone(view))[0] for view in inputs)
        return dict(loss=self.head.loss(a, b))


head = dict(type="SpreadHead")  # as it was
head = dict(  # with the terms: nothing else changes
    type="RegularizedHead", head=head, consistency=dict(), uniformity=dict(), key_gradient=True
)
