"""The folder that comes before PyTorch's in the search path of TorchServe's workers."""
