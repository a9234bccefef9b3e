# What MoCo v2 does to a view after the crop, without the blur, which small images do not survive.
small_view_changes = [
    dict(
        type="RandomApply",
        transforms=[
            dict(type="ColorJitter", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
        ],
        prob=0.8,
    ),
    dict(
        type="RandomGrayscale",
        prob=0.2,
        keep_channels=True,
        channel_weights=(0.114, 0.587, 0.2989),
    ),
    dict(type="RandomFlip", prob=0.5),
]
