"""Deep networks without shortcuts, taught through a ResNet (JointRD), with records that prove every number."""

__version__ = "0.1.0"
