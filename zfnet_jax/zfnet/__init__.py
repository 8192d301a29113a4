"""ZFNet: its architecture as data, its operations, the forward pass and the deconvnet."""
