"""Open Inference Protocol V2 (KServe, Triton): JSON and binary tensors."""
